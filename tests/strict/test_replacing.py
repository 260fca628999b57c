import importlib.util
import pickle
import sys
import types

import pytest

from harness.strict.replacing import replace

LIBRARIES = ("numpy.random", "torch", "lightgbm.basic")

# Whatever of every module that is imported, or of their classes, the harness put there.
WALK = """
import datetime, glob, importlib, multiprocessing, multiprocessing.pool, os, pickle, random, secrets, shutil, subprocess
import sys, tempfile, threading, time, uuid, warnings
warnings.simplefilter("ignore")
for name in {libraries!r}:
    importlib.import_module(name)

def is_ours(value):
    code = getattr(value, "__code__", None)
    return isinstance(code, type(is_ours.__code__)) and "/harness/strict/" in code.co_filename

def look(holder, where):
    for name, value in list(vars(holder).items()):
        if isinstance(value, type(is_ours)) and is_ours(value):
            try:
                if pickle.loads(pickle.dumps(value)) is not value:
                    print("another", where, name)
            except Exception as error:
                print("cannot", where, name, error)
            found.add(f"{{value.__module__}}.{{value.__qualname__}}")
        elif isinstance(value, type) and value not in seen:
            seen.add(value)
            if not str(value.__module__).startswith("harness"):
                look(value, f"{{where}}.{{name}}")

found, seen = set(), set()
for name, module in sorted(sys.modules.items()):
    package = name.partition(".")[0]
    if package not in ("harness", "_harness_bootstrapped", "_datetime", "__main__") and isinstance(module, type(os)):
        look(module, name)
print(*sorted(found), sep="\\n")
"""

BY_PROCESSES = """
import glob, multiprocessing, os, random, sys, time, uuid

if __name__ == "__main__":
    os.makedirs("folder"); open("folder/b", "w"); open("folder/a", "w")
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2, random.seed, (1,)) as pool:
            print(pool.map(os.listdir, ["folder"]), len(pool.map(os.urandom, [4])[0]), len(str(pool.apply(uuid.uuid4))))
            print(pool.map(glob.glob, ["folder/*"]), len(str(pool.apply(uuid.uuid1))))
            print(type(pool.apply(time.time)).__name__, pool.apply(random.random) < 1)
"""


def test_every_function_that_strict_replaces_is_pickled_by_its_own_name(launch, tmp_path):
    output = tmp_path / "output"
    output.mkdir()
    (output / "audit").touch()
    libraries = [name for name in LIBRARIES if importlib.util.find_spec(name.partition(".")[0]) is not None]
    (output / "walk.py").write_text(WALK.format(libraries=libraries))
    ended = launch("--", sys.executable, "walk.py")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert [line for line in lines if line.startswith(("another", "cannot"))] == []
    expected = {"os.listdir", "os.scandir", "os.urandom", "os._exit", "os.execv", "uuid.uuid1", "random.Random.seed"}
    expected |= {"threading.Thread.start", "time.time", "time.perf_counter", "multiprocessing.pool.worker"}
    if "torch" in libraries:
        expected |= {"torch.set_num_threads", "torch.use_deterministic_algorithms", "torch.manual_seed"}
        expected |= {"torch.random.seed"}
    if "numpy.random" in libraries:
        expected |= {"numpy.random.seed", "numpy.random.default_rng"}
    assert expected <= set(lines), expected - set(lines)


@pytest.mark.parametrize("audited", [False, True])
def test_pools_of_both_kinds_take_functions_that_strict_replaces(launch, tmp_path, audited):
    output = tmp_path / "output"
    output.mkdir()
    if audited:
        (output / "audit").touch()
    (output / "pools.py").write_text(BY_PROCESSES)
    ended = launch("--", sys.executable, "pools.py")
    once = "[['a', 'b']] 4 36\n[['folder/a', 'folder/b']] 36\nfloat True\n"
    assert (ended.returncode, ended.stdout) == (0, once * 2), ended.stderr


def test_methods_of_a_program_are_pickled_as_they_were(script):
    code = (
        "import datetime, pickle, random, secrets\n"
        "assert pickle.loads(pickle.dumps(datetime.datetime.now)) == datetime.datetime.now\n"
        "generator = random.Random(3)\n"
        "assert pickle.loads(pickle.dumps(generator)).random() == generator.random()\n"
        "pickle.loads(pickle.dumps(random.seed))(5)\n"
        "assert pickle.loads(pickle.dumps(secrets.token_hex)) is secrets.token_hex\n"
        "print('yes')"
    )
    ended = script(code)
    assert ended.stdout == "yes\n", ended.stderr


def test_a_function_that_is_not_named_so_is_no_function_of_its_module(monkeypatch):
    module = types.ModuleType("replaced_here")
    module.answer = len
    monkeypatch.setitem(sys.modules, "replaced_here", module)

    def call():
        return 42

    module.answer = call
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(call)
    module.answer = len
    replace(module, "answer", call)
    assert pickle.loads(pickle.dumps(module.answer)) is call
    assert call.__doc__ == len.__doc__
