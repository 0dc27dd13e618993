"""What the container that copies a volume runs: two programs for the shell of our busybox, and nothing else.

busybox's `cp -a` keeps owners, modes, times and links of both kinds, but writes holes out: a file of 7 GB that takes
no disk would take 7 GB in the copy. So files with holes are made first, piece by piece (`SPARSE`), and `cp -au` leaves
those alone, since they have their original's time already. No call that busybox offers says where the holes are, so
what is not zero is looked for.

A copied file takes at most three times the disk of its original, wherever an agent has put the data in it: pieces are
large only until twice that is written, and after that as small as a block.
"""

from __future__ import annotations

# $1: busybox, $2: from, $3: to, $4: what is left out, $5: SPARSE, $6: how many bytes of its errors are said
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

# $1: busybox, $2: from, $3: to, $4: an empty folder beside the copies, for names by inode; then the files.
# One with less than 64 KiB in holes is left to `cp`. busybox's `cmp` stops at the first difference, but not if it is
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
