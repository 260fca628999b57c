"""What the walk over a shell script must not miss: each construct with a command that nobody knows, and harmless.

What the first of each pair does was seen in dash and bash: with `frobnicate` a program, it runs (or a file is written).
"""

import pytest

from harness.locking.scripts import classify

PAIRS = [
    # Substitutions, wherever they hide
    ("echo ${x:-`frobnicate`}", "echo ${x:-$(true)}"),
    ('echo "${x:-`frobnicate`}"', 'echo "${x:-$(true)}"'),
    ("echo ${1:+a`frobnicate`b}", "echo ${1:+ab}"),
    ("""x="${y:-'$(frobnicate)'}" """, """x="${y:-'text'}" """),
    ("cat <<EOF\n`frobnicate`\nEOF", "cat <<'EOF'\n`frobnicate`\nEOF"),
    ("cat <<EOF\n${x:-`frobnicate`}\nEOF", "cat <<EOF\n${x:-\\`frobnicate\\`}\nEOF"),
    ("cat <<-EOF\n\t$(frobnicate)\n\tEOF", "cat <<-'EOF'\n\t$(frobnicate)\n\tEOF"),
    ("echo `echo \\`frobnicate\\``", "echo `echo 'a.b'`"),
    ("echo `echo \\$(frobnicate)`", "echo $(echo $(true))"),
    ("case x in [`frobnicate`]) ;; esac", "case x in [abc]) ;; esac"),
    ("echo $((1 + $(frobnicate)))", "echo $((1 + $(true)))"),
    ("unset a`frobnicate`", "unset a"),
    ("export a=`frobnicate`", "export a=`true`"),
    ("echo a#`frobnicate`", "echo a #`frobnicate`"),
    ("# a comment \\\nfrobnicate", "# a comment \\\ntrue"),
    ("frob\\\nnicate", "tr\\\nue"),
    # Arguments
    ('set a b; [ "$1" = a ] && frobnicate', 'set a b; [ "$1" = c ] && frobnicate'),
    ("set -e a b; [ $2 = b ] && frobnicate", "set -e; [ $2 ] && frobnicate"),
    ("set -o errexit a; [ $1 = a ] && frobnicate", "set -o errexit; [ $1 = a ] && frobnicate"),
    ('set -- "a frobnicate"; set -- $1; $2', 'set -- "a true"; set -- $1; $2'),
    ("set -- frobnicate; $1", "set -- frobnicate true; shift; $1"),
    # Patterns
    ('case "$1" in "*") exit 0;; esac; frobnicate', 'case "$1" in *) exit 0;; esac; frobnicate'),
    ('case "$1" in \\*) exit 0;; esac; frobnicate', 'case "$1" in con*) exit 0;; esac; frobnicate'),
    ('case "$1" in conf*"*") exit 0;; esac; frobnicate', 'case "$1" in "conf"*) exit 0;; esac; frobnicate'),
    ('x="*"; case y in "$x") ;; *) frobnicate;; esac', 'x="*"; case y in $x) ;; *) frobnicate;; esac'),
    # What ends only itself
    ("exit 0 &\nfrobnicate", "exit 0\nfrobnicate"),
    ("true && exit 0 & frobnicate", "true && exit 0; frobnicate"),
    ("{ exit 0; } & frobnicate", "{ exit 0; }; frobnicate"),
    ("if false & then frobnicate; fi", "if false; then frobnicate; fi"),
    ("case a in a) exit 0 & ;; esac; frobnicate", "case a in a) exit 0 ;; esac; frobnicate"),
    ("exit 0 &>/dev/null; frobnicate", "exit 0 >/dev/null; frobnicate"),
    ("return 0; frobnicate", "f() { return 0; frobnicate; }; f"),
    # Functions
    ("if [ -x /foo ]; then cp() { :; }; fi; cp a b", "cp() { :; }; if [ -x /foo ]; then cp a b; fi"),
    ("( cp() { :; } ); cp a b", "cp() { :; }; ( cp a b )"),
    ("cp() { :; }; unset -f cp; cp a b", "cp() { :; }; unset x; cp a b"),
    ("f() { [ $x ] && return; cp() { :; }; }; f; cp a", "f() { cp() { :; }; }; f; cp a"),
    ("f() { :; } > /etc/x; f", "f() { :; } > /dev/null; f"),
    ("uname() { frobnicate; }; x=$(uname)", "uname() { true; }; x=$(uname)"),
    ("echo() { frobnicate; }; echo a", "echo() { true; }; echo a"),
    ("f() { frobnicate; }; x=f; $x", "f() { true; }; x=f; $x"),
    ("f() { [ $x ] && return 1; return 0; }; f || frobnicate", "f() { return 0; }; f || frobnicate"),
    ("f() { false; return; }; f || frobnicate", "f() { return 1; }; f && frobnicate"),
    ("f() { $c; b=$c; c=frobnicate; f; }; c=true; f", "f() { true; f; }; f"),
    # Variables
    ("x=frobnicate; f() { local x=true; }; f; $x", "x=true; f() { local x=frobnicate; }; f; $x"),
    ("c=true; f() { $c a; }; c=frobnicate f", "c=true; f() { $c a; }; LC_ALL=C f"),
    ("c=true; c=frobnicate :; $c a", "c=true; c=frobnicate uname; $c a"),
    ('c=true; export "c=frobnicate"; $c a', "c=true; export c; $c a"),
    ("c=true; command read c; $c a", "c=true; command read d; $c a"),
    ("x=; : ${x:=frobnicate}; $x ls", "x=; : ${x:-frobnicate}; $x ls"),
    ("x=0; : $((x=5)); [ $x = 0 ] && exit 0; frobnicate", "x=0; : $((x+5)); [ $x = 0 ] && exit 0; frobnicate"),
    ('x="/dev/null -exec frobnicate ;"; find $x', 'x="/dev/null"; find $x'),
    ("x='frobnicate a /ls'; $x", "x='ls /a'; $x"),
    ("IFS=x; y=axfrobnicate; set -- $y; $2", "y=axfrobnicate; set -- $y; true $2"),
    ("declare -l x=A; [ $x = A ] && exit 0; frobnicate", "readonly x=A; [ $x = A ] && exit 0; frobnicate"),
    ('x="$(false)" || frobnicate', 'x="false" || frobnicate'),
    ("PATH=/opt/bin; ls", "PATH=/usr/sbin:/usr/bin; ls"),
    ("/opt/bin/ls", "/usr/bin/ls"),
    # Loops
    ("for x in frobnicate true; do break; done; $x", "for x in frobnicate true; do :; done; $x"),
    ("y=frobnicate; for x in a; do continue; y=true; done; $y", "y=frobnicate; for x in a; do y=true; done; $y"),
    (
        "f() { c=frobnicate; }; c=true; while [ $x ]; do $c; f; done",
        "f() { c=true; }; c=true; while [ $x ]; do $c; f; done",
    ),
    ("set -- true; while [ $x ]; do $1; set -- cp; done", "set -- true; while [ $x ]; do $1; set -- true; done"),
    ("for x in a; do continue; exit 0; done; frobnicate", "for x in a; do exit 0; continue; done; frobnicate"),
    ("f() { break; }; for x in a; do f; exit 0; done; frobnicate", "for x in a; do break; done; true"),
    ("f() { shift; }; f || frobnicate", "f() { set --; }; f || frobnicate"),
    ("x=a; local x=b; [ $x = b ] && exit 0; frobnicate", "f() { local x=b; [ $x = b ] && exit 0; frobnicate; }; f"),
    (
        "for x in frob a; do y=$x; [ $z ] && break; y=a; done; ${y}nicate",
        "for x in py; do [ $z ] || continue; ${x}clean a; done",
    ),
    # Tests
    ("[ a > /etc/x ]", "[ a = /etc/x ]"),
    ("[ x ] || frobnicate; [ x || frobnicate ]", "[ x ] || frobnicate"),
    ('[ "(" = ")" ] && exit 0; frobnicate', '[ "(" = "(" ] && exit 0; frobnicate'),
    ("[ a == a ] && exit 0; frobnicate", "[ a = a ] && exit 0; frobnicate"),
    ("[[ a > /etc/x ]]", "[ a ]"),
    ('x=~; [ $x = "~" ] && exit 0; frobnicate', 'x="~"; [ "$x" = "~" ] && exit 0; frobnicate'),
    # Words behind a here-document, braces
    ("find <<EOF /dev/null -exec frobnicate \\;\nEOF", "find <<EOF /dev/null -name x\nEOF"),
    ("sort <<EOF -o /etc/x\nEOF", "sort <<EOF -u\nEOF"),
    ("find {/dev/null,-exec} frobnicate \\;", "find /dev/null -name frobnicate"),
    ("printf -v x frobnicate", "printf %s frobnicate"),
]


def unknown(body, shell="/bin/sh"):
    return classify({"postinst": f"#!{shell}\n{body}\n".encode()}, "app", "amd64")[0].unknown


@pytest.mark.parametrize("body", [body for body, _ in PAIRS])
def test_what_may_run_something_unknown_is_not_passed(body):
    assert unknown(body)


@pytest.mark.parametrize("body", [body for _, body in PAIRS])
def test_the_same_is_understood_where_it_is_harmless(body):
    assert unknown(body) == ()


@pytest.mark.parametrize("space", ["\r", "\f", "\v", "\u00a0", "\u2003", "\u2028", "\x1b"])
def test_what_only_some_take_for_a_space_is_unknown(space):
    assert unknown(f"exit{space}0")
    assert unknown(f"exit 0{space}\nfrobnicate")
    assert unknown("echo 'nicht gültig' …\texit") == ()


def test_double_brackets_are_a_test_to_bash_alone():
    assert unknown("[[ -n $x ]]", "/bin/bash") == ()
    assert unknown("[[ -n $x ]]")


def test_a_loop_that_ends_at_its_first_time_makes_one_folder():
    folders = classify({"postinst": b"#!/bin/sh\nfor x in a b; do mkdir -p /x/$x; break; done\n"}, "app", "amd64")[
        0
    ].folders
    assert [folder.place for folder in folders] == ["/x/a"]
