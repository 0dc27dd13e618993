"""The two shell scripts, for our busybox, that the container which copies a volume runs.

busybox's `cp -a` keeps owners, modes, times, hard links and symlinks, but writes holes as data: a 7 GB file that takes
no disk space would take 7 GB in the copy. So files with holes are copied first, in pieces (`SPARSE`), and `cp -au`
skips them, since they already have the original's time. busybox cannot report where the holes are, so the script
searches for non-zero data.

A copied file takes at most three times the disk space of its original, wherever an agent has put the data in it: pieces
are large only until twice that is written, and a single block after that.
"""

from __future__ import annotations

# $1: busybox, $2: from, $3: to, $4: the path to leave out, $5: SPARSE, $6: how many bytes of the errors to print
COPY = """\
set -e -o pipefail
{
  "$1" find "$3" -mindepth 1 -maxdepth 1 -exec "$1" rm -rf {} +
  links=$("$1" mktemp -d "$3/.links.XXXXXX")
  "$1" find "$2" -type f -size +65535c -exec "$1" sh -c "$5" sparse "$1" "$2" "$3" "$links" {} +
  "$1" rm -rf "$links"
  "$1" cp -au "$2/." "$3/"
  "$1" rm -rf "$3$4"
  "$1" sync -f "$3"
} 2>&1 | "$1" tail -c "$6"
"""

# $1: busybox, $2: from, $3: to, $4: an empty folder on the target for hard links named by inode; then the files.
# Files with less than 64 KiB of holes are left to `cp`. busybox's `cmp` stops at the first difference, unless it is
# given -n.
SPARSE = """\
set -e -o pipefail
box=$1 from=$2 to=$3 links=$4
shift 4
"$box" stat -c '%b %s %i %h %u:%g %a' "$@" | while read -r blocks size inode names owner mode; do
  file=$1
  shift
  disk=$((blocks * 512))
  [ $((disk + 65536)) -le "$size" ] || continue
  made=$to/${file#"$from"/}
  "$box" mkdir -p "${made%/*}"
  if [ -e "$links/$inode" ]; then
    "$box" ln "$links/$inode" "$made"
    continue
  fi
  "$box" truncate -s "$size" "$made"
  at=0 written=0
  while [ "$at" -lt "$size" ]; do
    differs=$({
      "$box" dd bs=4096 skip=$((at / 4096)) count=0 status=none
      "$box" cmp - /dev/zero
    } < "$file" 2>&1) || :
    case $differs in
      "- /dev/zero differ: char "*) byte=${differs#*char } ;;
      "cmp: EOF on -") break ;;
      *) echo "$differs"; exit 1 ;;
    esac
    at=$(((at + ${byte%%,*} - 1) / 4096 * 4096))
    count=$(((2 * disk - written) / 4096))
    [ "$count" -le 256 ] || count=256
    [ "$count" -ge 1 ] || count=1
    block=$((at / 4096))
    "$box" dd if="$file" of="$made" bs=4096 skip="$block" seek="$block" count="$count" conv=notrunc status=none
    written=$((written + count * 4096))
    at=$((at + count * 4096))
  done
  "$box" chown "$owner" "$made"
  "$box" chmod "$mode" "$made"
  "$box" touch -r "$file" "$made"
  [ "$names" -eq 1 ] || "$box" ln "$made" "$links/$inode"
done
"""
