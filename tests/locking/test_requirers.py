from harness.locking.requirers import requirers


def test_the_packages_that_ask_for_one_are_named_whether_one_or_several(environment, links, make_wheel):
    make_wheel(links, "first", requires="tool")
    make_wheel(links, "second", requires="tool")
    versions = dict.fromkeys(("first", "second", "tool"), "1.0")
    arguments = ["--python-version", "3.11"]
    assert requirers(arguments, ["first"], versions, environment) == {"first": ("first",), "tool": ("first",)}
    assert requirers(arguments, ["first", "second"], versions, environment)["tool"] == ("first", "second")
