# For scripts in the machine: named checks that go on after a failure, and their sum as exit status.
failures=0
say() { printf '== %s\n' "$*"; }
fail() { failures=$((failures + 1)); printf 'FAILED: %s\n' "$*"; }
# check "WHAT IS PROMISED" COMMAND...
check() { local what="$1"; shift; if "$@" >/tmp/check.out 2>&1; then printf 'ok: %s\n' "$what"; else fail "$what: $* ended with $?"; tail -n 30 /tmp/check.out; fi; }
refuse() { local what="$1"; shift; if "$@" >/tmp/check.out 2>&1; then fail "$what: $* worked"; tail -n 30 /tmp/check.out; else printf 'ok: %s\n' "$what"; fi; }
# refuse_with "WHAT IS DENIED" "ANSWER" COMMAND...: it must fail, and say this; a command that is not there fails, too.
refuse_with() { local what="$1" answer="$2"; shift 2; refuse "$what" "$@"; grep -qi "$answer" /tmp/check.out || { fail "$what: the answer is not '$answer'"; tail -n 30 /tmp/check.out; }; }
# within SECONDS COMMAND...: until it works.
within() { local end=$(($(date +%s) + $1)); shift; until "$@" >/tmp/within.out 2>&1; do [ "$(date +%s)" -lt "$end" ] || { cat /tmp/within.out; return 1; }; sleep 0.5; done; }
