from __future__ import annotations

import dataclasses
import json
import re
import stat
import threading
from pathlib import Path

import pytest
from argon2 import PasswordHasher

import pneumolens
from core.errors import SignInError
from core.settings import Settings
from records import administrator, throttle
from records.administrator import (
    check_password,
    has_password,
    new_first_code,
    password_mark,
    refuse_weak,
    set_password,
    unlock,
)
from records.throttle import FREE_ATTEMPTS, LONGEST_WAIT_SECONDS, SHARED_ATTEMPTS, wait_seconds

PASSWORD = "correct horse battery"
WRONG = "another horse battery"


class Clock:
    """Stands in for the time: it goes on only when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(throttle, "time", made)
    return made


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Settings:  # noqa: ARG001 (time stands still)
    monkeypatch.setattr(administrator, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return Settings(tmp_path / "data")


def on_disk(settings: Settings) -> str:
    return "\n".join(path.read_text() for path in settings.data_dir.iterdir())


def with_password(settings: Settings) -> str:
    code = new_first_code(settings)
    assert code is not None
    return set_password(settings, code, PASSWORD)


def wrong(settings: Settings, times: int = 1, source: str = "local") -> SignInError:
    for _ in range(times):
        with pytest.raises(SignInError) as error:
            check_password(settings, WRONG, source)
    return error.value


def test_the_code_sets_the_password_once_and_the_password_signs_in(settings: Settings) -> None:
    code = new_first_code(settings)
    assert code is not None and re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{4}-){2}[0-9A-HJKMNP-TV-Z]{4}", code)
    assert not has_password(settings) and password_mark(settings) is None
    mark = set_password(settings, code, PASSWORD)
    assert has_password(settings) and check_password(settings, PASSWORD) == mark == password_mark(settings)
    with pytest.raises(SignInError) as error:
        set_password(settings, code, "another long password")
    assert "Sign in with it" in error.value.advice
    assert new_first_code(settings) is None, "a later start prints nothing"
    assert check_password(settings, PASSWORD) == mark


def test_the_code_may_be_typed_as_it_was_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administrator.secrets, "choice", lambda _: "0")
    code = new_first_code(settings)
    assert code == "0000-0000-0000"
    assert set_password(settings, " ooOO – 0000 oooo\n", PASSWORD)


def test_each_start_makes_a_new_code_and_forgets_the_one_before(settings: Settings) -> None:
    first, second = new_first_code(settings), new_first_code(settings)
    assert first is not None and second is not None and first != second
    with pytest.raises(SignInError) as error:
        set_password(settings, first, PASSWORD)
    assert "terminal" in error.value.advice and not has_password(settings)
    set_password(settings, second, PASSWORD)


def test_without_a_code_of_this_start_nothing_sets_the_password(settings: Settings) -> None:
    for code in ("", "0000-0000-0000"):
        with pytest.raises(SignInError) as error:
            set_password(settings, code, PASSWORD)
        assert "Restart the app" in error.value.advice
    assert not has_password(settings)


def test_only_hashes_are_kept_and_only_this_user_may_read_them(settings: Settings) -> None:
    code = new_first_code(settings)
    assert code is not None
    kept = on_disk(settings)
    set_password(settings, code, PASSWORD)
    wrong(settings)
    kept += on_disk(settings)
    assert kept.count("$argon2id$") == 2
    assert not any(secret in kept for secret in (code, code.replace("-", ""), PASSWORD, WRONG))
    files = [path for path in settings.data_dir.iterdir() if not path.name.endswith(".lock")]
    assert sorted(path.name for path in files) == ["administrator.json", "attempts.json"], "the code is used up"
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "elevenchars",
        "aaaaaaaaaaaa",
        "abcabcabcabc",
        "123456789012",
        "abcdefghijklmno",
        "password12345678",
        "PasswordPassword",
        "Administrator2026",
        "qwertyuiop!!",
        "098765432198",
        "x" * 300,
        "pneumolens-admin",
    ],
)
def test_weak_passwords_are_refused_and_cost_no_attempt(settings: Settings, password: str) -> None:
    code = new_first_code(settings)
    assert code is not None
    for _ in range(FREE_ATTEMPTS + 1):
        with pytest.raises(SignInError) as error:
            set_password(settings, code, password)
        assert "at least 12 characters" in error.value.advice
        assert not password or password not in f"{error.value}{error.value.advice}"
    set_password(settings, code, PASSWORD)


@pytest.mark.parametrize(
    "password", ["correct horse battery", "Zwölf Möwen üben", "k7#Qz!v2Lm9@", "片肺炎の写真を見る人たちへ"]
)
def test_other_passwords_are_taken(password: str) -> None:
    refuse_weak(password)


def test_a_password_is_the_same_from_every_keyboard(settings: Settings) -> None:
    code = new_first_code(settings)
    assert code is not None
    set_password(settings, code, "Zwo\u0308lf Mo\u0308wen u\u0308ben")
    assert check_password(settings, "Zw\u00f6lf M\u00f6wen \u00fcben")


def test_wrong_passwords_have_to_wait_longer_and_longer(settings: Settings, clock: Clock) -> None:
    mark = with_password(settings)
    assert "Try again in" not in wrong(settings, FREE_ATTEMPTS - 1).advice
    assert "Try again in 15 seconds" in wrong(settings).advice
    for password in (WRONG, PASSWORD):
        with pytest.raises(SignInError) as error:
            check_password(settings, password)
        assert "Too many failed attempts" in error.value.advice, "the right one has to wait too"
    clock.now += 16
    assert "Try again in 30 seconds" in wrong(settings).advice, "those refused unseen did not count"
    clock.now += 16
    assert "Too many" in wrong(settings).advice
    clock.now += 31
    assert check_password(settings, PASSWORD) == mark
    assert "Try again" not in wrong(settings, FREE_ATTEMPTS - 1).advice, "the right one starts over"


def test_wrong_codes_are_counted_over_every_start(settings: Settings, clock: Clock) -> None:
    for _ in range(FREE_ATTEMPTS):
        code = new_first_code(settings)
        with pytest.raises(SignInError):
            set_password(settings, "0000-0000-0000", PASSWORD)
    assert code is not None
    with pytest.raises(SignInError) as error:
        set_password(settings, code, PASSWORD)
    assert "Too many" in error.value.advice
    clock.now += 16
    set_password(settings, code, PASSWORD)


def test_waits_grow_to_a_longest_and_a_clock_set_back_does_not_lock_out(settings: Settings, clock: Clock) -> None:
    waits = [wait_seconds(wrong) for wrong in range(1, 40)]
    assert waits == sorted(waits) and waits[FREE_ATTEMPTS - 2 : FREE_ATTEMPTS + 1] == [0, 15, 30]
    assert waits[-1] == LONGEST_WAIT_SECONDS and wait_seconds(10**6) == LONGEST_WAIT_SECONDS
    mark = with_password(settings)
    wrong(settings, FREE_ATTEMPTS)
    clock.now -= 10**7
    assert "Too many failed attempts. Try again in 15 seconds" in wrong(settings).advice
    clock.now += 16
    assert check_password(settings, PASSWORD) == mark, "the wait has ended although the clock is still behind"


def test_whoever_fails_is_kept_waiting_and_nobody_else(settings: Settings) -> None:
    mark = with_password(settings)
    wrong(settings, FREE_ATTEMPTS, "192.0.2.1")
    for same in ("192.0.2.1", "::ffff:192.0.2.1"):
        assert "Too many" in wrong(settings, source=same).advice
    assert check_password(settings, PASSWORD, "192.0.2.2") == mark and check_password(settings, PASSWORD) == mark
    wrong(settings, FREE_ATTEMPTS, "2001:db8::1")
    assert "Too many" in wrong(settings, source="2001:db8::2").advice, "one client owns a whole network of IPv6"


def test_many_addresses_share_a_budget_that_keeps_out_neither_the_machine_nor_who_signed_in_before(
    settings: Settings, clock: Clock
) -> None:
    mark = with_password(settings)
    check_password(settings, PASSWORD, "198.51.100.7")
    for n in range(SHARED_ATTEMPTS):
        assert "wrong" in wrong(settings, source=f"192.0.2.{n}").advice
    for source in ("192.0.2.200", "2001:db8::1"):
        assert "Too many failed attempts. Try again in 15 minutes" in wrong(settings, source=source).advice
    assert check_password(settings, PASSWORD, "198.51.100.7") == mark and check_password(settings, PASSWORD) == mark
    clock.now -= 10**7
    assert "wrong" in wrong(settings, source="192.0.2.200").advice, "a clock set back begins the budget anew"
    clock.now += LONGEST_WAIT_SECONDS
    assert check_password(settings, PASSWORD, "192.0.2.201") == mark


def test_the_machine_unlocks_every_source(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = with_password(settings)
    for source in ("local", "192.0.2.1"):
        wrong(settings, FREE_ATTEMPTS, source)
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(settings.data_dir))
    assert pneumolens.main(["unlock"]) == 0
    assert "unlocked" in capsys.readouterr().out
    assert check_password(settings, PASSWORD) == check_password(settings, PASSWORD, "192.0.2.1") == mark
    assert unlock(settings) == 0


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"wrong": 5, "wait_until": 9e99}',
        '{"sources": {"local": {"wrong": 1e400, "wait_until": 1' + "0" * 400 + "}}}",
        '{"sources": {"local": [1]}, "known": [[]], "shared": "x"}',
    ],
)
def test_a_damaged_count_locks_nobody_out(settings: Settings, content: str) -> None:
    mark = with_password(settings)
    (settings.data_dir / "attempts.json").write_text(content)
    assert check_password(settings, PASSWORD) == mark


def test_an_attempt_counts_even_when_the_app_is_killed_over_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_password(settings)

    class Killed(BaseException):
        pass

    class Hasher(PasswordHasher):
        def verify(self, *_: object) -> bool:  # type: ignore[override]
            raise Killed

    hasher = administrator._hasher
    monkeypatch.setattr(administrator, "_hasher", Hasher())
    for _ in range(FREE_ATTEMPTS):
        with pytest.raises(Killed):
            check_password(settings, WRONG)
    monkeypatch.setattr(administrator, "_hasher", hasher)
    assert "Too many" in wrong(settings).advice


def test_of_many_attempts_at_once_no_more_than_the_free_ones_are_compared(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_password(settings)
    compared, hasher = [], administrator._hasher

    class Counting(PasswordHasher):
        def verify(self, *arguments: str) -> bool:  # type: ignore[override]
            compared.append(1)
            return hasher.verify(*arguments)

    monkeypatch.setattr(administrator, "_hasher", Counting())
    threads = [threading.Thread(target=wrong, args=(settings,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(compared) == FREE_ATTEMPTS


def test_a_password_is_hashed_anew_when_the_parameters_change(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, path = with_password(settings), settings.data_dir / "administrator.json"
    before = json.loads(path.read_text())
    monkeypatch.setattr(administrator, "_hasher", PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    wrong(settings)
    assert json.loads(path.read_text()) == before
    assert check_password(settings, PASSWORD) == mark
    after = json.loads(path.read_text())
    assert "m=16,t=2" in after["password"] and after["mark"] == mark, "nobody is signed out by it"
    assert check_password(settings, PASSWORD) == mark
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "[" * 100_000, '{"password": "plain text", "mark": "1"}', '{"mark": "1"}']
)
def test_a_damaged_account_lets_nobody_in_and_brings_no_code_back(settings: Settings, content: str) -> None:
    with_password(settings)
    (settings.data_dir / "administrator.json").write_text(content)
    for password in (PASSWORD, "", "plain text"):
        with pytest.raises(SignInError):
            check_password(settings, password)
    assert has_password(settings) and new_first_code(settings) is None
    assert not (settings.data_dir / "first-code.json").exists()


def test_whoever_forgot_the_password_deletes_it_and_starts_again(settings: Settings) -> None:
    before = with_password(settings)
    (settings.data_dir / "administrator.json").unlink()
    assert password_mark(settings) is None, "visits that were signed in are over"
    with pytest.raises(SignInError) as error:
        check_password(settings, PASSWORD)
    assert "administrator.json" in error.value.advice
    assert with_password(settings) != before


def test_a_data_folder_that_cannot_be_used_is_explained(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blocked = dataclasses.replace(settings, data_dir=tmp_path / "file" / "data")
    with pytest.raises(SignInError) as error:
        new_first_code(blocked)
    assert "data folder" in error.value.advice
