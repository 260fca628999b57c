"""What maintainer scripts would do, read from their text; the scripts are in the words of real ones."""

import pytest

from harness.locking.debian import Alternative, Folder, Link, SystemGroup, SystemUser
from harness.locking.scripts import classify


def read(text, name="postinst", **others):
    controls = {name: text.encode(), **{key: value.encode() for key, value in others.items()}}
    return next(script for script in classify(controls, "app", "amd64") if script.name == name)


def postinst(body, **others):
    return read(f"#!/bin/sh\nset -e\n{body}\n", **others)


@pytest.mark.parametrize(
    ("body", "does"),
    [
        ("exit 0", ()),
        ("ldconfig", ("ldconfig",)),
        ("if [ -x /usr/bin/py3compile ]; then py3compile -p app; fi", ("byte-compilation",)),
        ('if [ -d /run/systemd/system ]; then systemctl --system daemon-reload >/dev/null || true; fi', ("services",)),
        ('dpkg-maintscript-helper rm_conffile /etc/app 1.0 -- "$@"', ("upgrade",)),
        (". /usr/share/debconf/confmodule\ndb_get app/x\ndb_stop", ("debconf",)),
        ("chown root:root /etc/app", ("ownership",)),
        ('if [ -n "$2" ]; then rm -rf /var/lib/app; fi', ()),
        ('if dpkg --compare-versions "$2" lt-nl 1.2; then rm -f /etc/old; fi', ()),
        ('case "$1" in upgrade|abort-*) frobnicate ;; configure) : ;; *) frobnicate ;; esac', ()),
        ("frob() { frobnicate; }", ()),
        ('files=$(dpkg -L app | sed -n "/\\.py$/p")\necho "$files" >&2', ()),
        ("python3.11 -E -S /usr/lib/python3.11/py_compile.py $files", ("byte-compilation",)),
        ("python3 -m compileall -q /usr/lib/app", ("byte-compilation",)),
        ("sed -n -e 's|/[^/]*/|&x|gp;/a\\/b/,$!p' /usr/app", ()),
        ("sort -u -k2,2n -t : --reverse /etc/app", ()),
        ("awk -F: -v x=1 '{ print $1 }' /etc/passwd", ()),
        ("umask 022\nmkdir -p -m 1777 /var/lib/app", ("folders",)),
        ("ln -sf foo /usr/lib/app", ("links",)),
        ("dpkg-architecture -qDEB_HOST_MULTIARCH; date -u +%s; hostname -f", ()),
    ],
)  # fmt: skip
def test_what_changes_nothing_or_is_not_needed_passes(body, does):
    script = postinst(body)
    assert (script.unknown, script.does) == ((), does)


@pytest.mark.parametrize(
    "line",
    [
        "frobnicate --all",
        "sed 's|a|b|e' /etc/x",
        "sed s,a,b,w/etc/x /etc/x",
        "sed 's/a/b/;s:a:b:w /etc/y' /etc/x",
        "sed -n '/a/e' /etc/x",
        "sed p -ni /etc/x",
        "sed --in-pl p /etc/x",
        "sed 's/[/]/b/;s/a/b/e' /etc/x",
        "sort --out=/etc/x /etc/y",
        "sort -uo /etc/x /etc/y",
        "sort --comp=frobnicate /etc/y",
        "gawk -i inplace '{ print }' /etc/x",
        "gawk '@load \"filefuncs\"; { print }' /etc/x",
        "awk -e '{ print }' -E /etc/x",
        "date -us 2020-01-01",
        "hostname -F /etc/x",
        "dpkg-architecture -c frobnicate",
        "python3 -c 'frobnicate()' /x/compileall.py",
        "python3 -m frobnicate /usr/lib/python3/compileall.py",
        "python3 /tmp/compileall.py",
        "python3 -Efrobnicate -m compileall",
        "umask 077",
        "umask $mask",
        "mkdir -m 2755 /var/lib/app",
        "mkdir -m 4755 /var/lib/app",
        "ln -s foo /usr/lib",
        "ln -s foo /etc",
        "ln -s foo /lib",
        "rm -f /etc/app.conf",
        "echo x > /etc/app.conf",
        "cat x >> /etc/app.conf",
        "rm >/dev/null /etc/app.conf",
        "echo $(frobnicate)",
        'echo "`frobnicate`"',
        "true | frobnicate",
        "( frobnicate )",
        "{ frobnicate; }",
        "for x in a b; do frobnicate $x; done",
        "while read x; do frobnicate $x; done < /etc/x",
        "if [ -e /etc/x ]; then frobnicate; fi",
        "[ -e /etc/x ] || frobnicate",
        "f() { frobnicate; }; f",
        "eval frobnicate",
        "$command /etc/x",
        "x=frobnicate; $x",
        ". /usr/share/app/functions",
        "sh -c frobnicate",
        "sed -i s/a/b/ /etc/x",
        "sed 's/a/b/w /etc/x' /etc/y",
        "find / -delete",
        "awk 'BEGIN { system(\"frobnicate\") }'",
        "sort -o /etc/x /etc/y",
        "chown post /etc/x",
        "chmod 4755 /usr/bin/x",
        "mkdir -p $folder",
        "mkdir -p /var/../etc",
        "update-alternatives --install $x y /z 1",
        "update-alternatives --install /usr/bin/x/ x /usr/bin/y 1",
        "update-alternatives --install /usr/bin/x x /usr/lib/../y 1",
        "update-alternatives --install /usr/bin/x x /usr/bin/y --1",
        "update-alternatives --install /usr/bin/x x /usr/bin/y 99999999999999999999",
        "ln -s foo /usr/lib/../../etc/x",
        "adduser --system --home /srv/.. post",
        "if frobnicate; then :; fi",
        "dpkg-divert --add /usr/bin/x",
        "adduser post",
        "exit 1",
        "cat <(frobnicate)",
        "cat <<EOF | frobnicate\nx\nEOF",
        "trap frobnicate EXIT",
    ],
)
def test_what_nobody_can_tell_is_unknown_by_its_line(line):
    script = postinst(f":\n{line}")
    assert script.unknown
    assert script.unknown[0].startswith("4: ")


def test_what_is_not_shell_is_unknown():
    assert read("#!/usr/bin/perl\nprint 1;\n").unknown == ("1: #!/usr/bin/perl",)
    assert read("\x7fELF\n").unknown
    assert postinst("if [ x").unknown
    assert postinst("fi").unknown


def test_an_action_under_a_condition_that_cannot_be_known_is_unknown():
    install = "update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5"
    assert postinst(install).alternatives == (Alternative("/usr/bin/awk", "/usr/bin/mawk", 5),)
    for body in (f"if [ -e /etc/x ]; then {install}; fi", f"grep -q x /etc/y && {install}", f"[ $x = y ] || {install}",
                 f"grep -q x /etc/y && exit 0\n{install}", f"for x in $y; do {install}; done"):  # fmt: skip
        assert (postinst(body).alternatives, len(postinst(body).unknown)) == ((), 1), body
    # What a script looks for is not there on a fresh system.
    assert postinst(f"if [ ! -e /usr/bin/awk ]; then {install}; fi").alternatives
    assert postinst(f"[ -e /etc/x ] && exit 0\n{install}").alternatives
    assert postinst(f"grep -q x /etc/y || exit 1\n{install}").alternatives


def test_alternatives_are_read_with_their_slaves():
    script = postinst(
        'if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ]; then\n'
        "  update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 \\\n"
        "    --slave /usr/bin/nawk nawk /usr/bin/mawk\nfi"
    )
    assert script.alternatives == (
        Alternative("/usr/bin/awk", "/usr/bin/mawk", 5),
        Alternative("/usr/bin/nawk", "/usr/bin/mawk", 5),
    )
    assert (script.does, script.unknown) == (("alternatives",), ())


def test_functions_are_read_with_their_arguments():
    script = postinst(
        'make() {\n  if [ ! -d "$DPKG_ROOT/$1" ]; then mkdir -p "$DPKG_ROOT/$1"; chmod $2 "/$1"; fi\n}\nmake srv 700'
    )
    assert script.folders == (Folder("/srv", "0700"),)
    assert script.unknown == ()


def test_users_groups_and_links_are_read():
    script = postinst(
        "if ! getent group web >/dev/null; then addgroup --system --quiet web; fi\n"
        "adduser --system --ingroup web --home /var/lib/web --no-create-home --gecos 'the web' webber\n"
        "ln -sf /etc/ssl /usr/lib/ssl"
    )
    assert script.groups == (SystemGroup("web"),)
    assert script.users == (SystemUser("webber", "web", "/var/lib/web"),)
    assert script.links == (Link("/usr/lib/ssl", "/etc/ssl"),)
    assert script.unknown == ()


def test_scripts_for_removal_are_named_and_not_read():
    for name in ("prerm", "postrm"):
        script = read("#!/bin/sh\nfrobnicate\n", name)
        assert (script.does, script.unknown) == (("removal",), ())


def test_a_preinst_is_read_as_for_a_first_installation():
    assert read('#!/bin/sh\nif [ "$1" = upgrade ]; then frobnicate; fi\n', "preinst").unknown == ()
    assert read('#!/bin/sh\nif [ "$1" = install ]; then frobnicate; fi\n', "preinst").unknown == ("2: frobnicate",)


def test_interest_in_a_trigger_makes_the_postinst_run_once_more():
    body = 'if [ "$1" = triggered ]; then frobnicate; fi'
    assert postinst(body).unknown == ()
    assert postinst(body, triggers="interest-noawait /usr/share/x\n").unknown == ("3: frobnicate",)
    assert postinst(body, triggers="activate-noawait ldconfig\n").unknown == ()


def test_triggers_are_read():
    assert read("# a comment\nactivate-noawait ldconfig\n", "triggers").does == ("ldconfig",)
    assert read("interest-await /usr/share/x\n", "triggers").unknown == ()
    assert read("frobnicate x\n", "triggers").unknown == ("1: frobnicate x",)


def test_a_function_that_calls_itself_ends():
    assert postinst("f() { f again; frobnicate; }\nf").unknown == ("3: frobnicate",)


def test_an_unknown_line_names_no_host_and_is_short():
    (line,) = postinst("frobnicate https://host.test/" + "x" * 500 + " " + "y" * 500).unknown
    assert "host.test" not in line
    assert len(line) < 120
