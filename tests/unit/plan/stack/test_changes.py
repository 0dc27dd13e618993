"""Which containers of a stack stay, are started, replaced, created or removed when a run starts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stromboli import naming
from stromboli.naming import Role
from stromboli.plan.stack import changes, names
from stromboli.plan.stack.changes import Create, Existing, Fate, Keep, Remove, Replace, Restart, Start, Wanted

OLD, NEW = {"image": "1"}, {"image": "2"}
DB, CACHE, WEB = (names.service(name) for name in ("db", "cache", "web"))
HOLDER = names.namespace("db")
RUNS = Existing("x", OLD, running=True)
STOPPED = Existing("x", OLD, running=False)


def test_each_container_by_itself() -> None:
    wanted = {DB: Wanted(OLD), CACHE: Wanted(NEW)}
    assert changes.plan(wanted, {}) == {DB: Create(), CACHE: Create()}
    assert changes.plan(wanted, {DB: RUNS, CACHE: RUNS}) == {DB: Keep(), CACHE: Replace("its image changed")}
    assert changes.plan(wanted, {DB: STOPPED, CACHE: STOPPED}) == {DB: Start(), CACHE: Replace("its image changed")}
    assert changes.plan({}, {DB: RUNS}) == {DB: Remove()}


def test_what_has_done_its_work_stays() -> None:
    done = Existing("x", OLD, running=False, completed=True)
    assert changes.plan({DB: Wanted(OLD)}, {DB: done}) == {DB: Keep()}
    assert changes.plan({DB: Wanted(NEW)}, {DB: done}) == {DB: Replace("its image changed")}


def test_a_label_that_is_lost() -> None:
    lost = Existing("x", None, running=True)
    assert changes.plan({DB: Wanted(OLD)}, {DB: lost}) == {DB: Replace("its label is lost")}


def shared(holder: Existing | None, member: Existing | None, definition: dict[str, str] = OLD) -> Fate:
    """What becomes of a member, if this is found of it and of its holder."""
    found = {role: one for role, one in ((HOLDER, holder), (DB, member)) if one is not None}
    return changes.plan({HOLDER: Wanted(definition), DB: Wanted(OLD, HOLDER)}, found)[DB]


def test_a_new_namespace_is_for_new_containers() -> None:
    new = Replace("the network namespace that it shares is a new one")
    assert shared(RUNS, RUNS) == Keep()
    assert shared(RUNS, STOPPED) == Start()
    assert shared(RUNS, None) == Create()
    assert shared(None, None) == Create()
    for member in (RUNS, STOPPED, Existing("x", OLD, running=False, completed=True)):
        assert shared(None, member) == new
        assert shared(RUNS, member, NEW) == new
    assert shared(None, Existing("x", NEW, running=True)) == Replace("its image changed")


def test_a_namespace_that_ended_is_begun_anew_for_all_in_it() -> None:
    assert shared(STOPPED, RUNS) == Restart("the network namespace that it shares had ended")
    assert shared(STOPPED, STOPPED) == Start()
    assert shared(STOPPED, Existing("x", OLD, running=False, completed=True)) == Keep()


def test_a_dependent_is_restarted_with_what_it_says() -> None:
    wanted = {DB: Wanted(NEW), WEB: Wanted(OLD, restart_with={DB: "db"}), CACHE: Wanted(OLD)}
    found = {DB: RUNS, WEB: RUNS, CACHE: RUNS}
    assert changes.plan(wanted, found) == {
        DB: Replace("its image changed"),
        WEB: Restart("db was replaced"),
        CACHE: Keep(),
    }
    assert changes.plan(wanted, {**found, WEB: STOPPED})[WEB] == Start()
    assert changes.plan({**wanted, DB: Wanted(OLD)}, found)[WEB] == Keep()
    assert changes.plan(wanted, {**found, WEB: Existing("x", NEW, running=True)})[WEB] == Replace("its image changed")


def test_a_dependent_is_restarted_too_if_the_namespace_of_what_it_depends_on_is_new() -> None:
    wanted = {HOLDER: Wanted(NEW), DB: Wanted(OLD, HOLDER), WEB: Wanted(OLD, restart_with={DB: "db"})}
    assert changes.plan(wanted, {HOLDER: RUNS, DB: RUNS, WEB: RUNS})[WEB] == Restart("db was replaced")


def test_the_agent_s_container_is_kept_though_it_does_not_run() -> None:
    agent = Existing("x", OLD, running=False, completed=True)
    wanted = {HOLDER: Wanted(OLD), naming.AGENT: Wanted(OLD, HOLDER)}
    assert changes.plan(wanted, {HOLDER: RUNS, naming.AGENT: agent})[naming.AGENT] == Keep()
    assert isinstance(changes.plan(wanted, {naming.AGENT: agent})[naming.AGENT], Replace)


def test_containers_are_stopped_before_what_they_depend_on_and_holders_last() -> None:
    gone, lost = names.service("gone"), names.namespace("gone")
    fates: dict[Role, Fate] = {
        HOLDER: Replace("x"), DB: Replace("x"), CACHE: Keep(), WEB: Restart("x"), lost: Remove(), gone: Remove(),
    }  # fmt: skip
    assert changes.stopping(fates, [HOLDER, DB, CACHE, WEB]) == (gone, WEB, DB, HOLDER, lost)


ROLES = (HOLDER, DB, CACHE, WEB)
existing = st.builds(Existing, st.just("x"), st.sampled_from([OLD, NEW, None]), st.booleans(), st.booleans())


@given(
    st.dictionaries(st.sampled_from(ROLES), st.sampled_from([OLD, NEW]), max_size=4),
    st.dictionaries(st.sampled_from(ROLES), existing, max_size=4),
)
def test_after_the_plan_is_carried_out_nothing_is_left_to_do(
    definitions: dict[Role, dict[str, str]], found: dict[Role, Existing]
) -> None:
    wanted = {
        role: Wanted(
            definition,
            HOLDER if role == DB and HOLDER in definitions else None,
            {DB: "db"} if role == WEB and DB in definitions else {},
        )
        for role, definition in definitions.items()
    }
    fates = changes.plan(wanted, found)
    assert set(fates) == set(wanted) | set(found)
    after = {}
    for role, fate in fates.items():
        match fate:
            case Keep():
                assert found[role].running or found[role].completed
                after[role] = found[role]
            case Start() | Restart():
                assert role in found
                after[role] = Existing("x", found[role].definition, running=True)
            case Create() | Replace():
                assert isinstance(fate, Replace) is (role in found)
                after[role] = Existing("y", wanted[role].definition, running=True)
            case Remove():
                assert role not in wanted
    assert set(changes.plan(wanted, after).values()) <= {Keep()}
