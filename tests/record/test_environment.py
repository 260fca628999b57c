import msgspec
import pytest

from harness.record.environment import Captured, Cpu, Gpu, Library, covered_parts, environment_signature
from harness.record.hashing import signature
from harness.spec.digest import digest_from_hex
from harness.spec.run import ImageReference, Profile

ONE, TWO = digest_from_hex("1" * 64), digest_from_hex("2" * 64)
IMAGE = ImageReference(name="cpu", manifest=ONE, config=ONE)
GPU = Gpu(name="H100", compute_capability="9.0", multiprocessors=132, driver="550", libraries={"nvidia-cublas": "13"})
CPU = Cpu(
    architecture="x86_64",
    vendor="AuthenticAMD",
    family="26",
    model="2",
    model_name="AMD EPYC",
    dispatch={"isa": "avx2 fma", "numpy": "X86_V3", "openblas": "Haswell", "torch/aten": "AVX2"},
)
BASE = Captured(
    python={"version": "3.11.2"},
    libraries={"numpy": Library(version="2.4.6", digest=ONE)},
    native={"libc": "glibc 2.36", "torch/mkl": "2024.2"},
    cpu=CPU,
    gpu=None,
    settings={"MKL_CBWR": "AUTO", "OMP_NUM_THREADS": "1", "numpy/openblas.threads": "1"},
    probe={"numpy": {"gemm": ONE}},
    host={"kernel": "Linux 6.1", "cores": "2"},
)


def with_cpu(**changes):
    return msgspec.structs.replace(BASE, cpu=msgspec.structs.replace(CPU, **changes))


def with_(**changes):
    return msgspec.structs.replace(BASE, **changes)


def signed(captured=BASE, image=IMAGE, profile=Profile.NATIVE):
    return environment_signature(captured, image, profile)


@pytest.mark.parametrize(
    "captured",
    [
        with_(python={"version": "3.11.3"}),
        with_(libraries={"numpy": Library(version="2.4.6", digest=TWO)}),
        with_(libraries={"numpy": Library(version="2.4.7", digest=ONE)}),
        with_(native={"libc": "glibc 2.41", "torch/mkl": "2024.2"}),
        with_cpu(dispatch={**CPU.dispatch, "openblas": "SkylakeX"}),
        with_(gpu=GPU),
        with_(settings={**BASE.settings, "MKL_CBWR": "COMPATIBLE"}),
        with_(settings={**BASE.settings, "threads": "free: 4"}),
    ],
)
@pytest.mark.parametrize("profile", Profile)
def test_what_can_change_a_bit_changes_the_signature(captured, profile):
    assert signed(captured, profile=profile) != signed(profile=profile)


@pytest.mark.parametrize(
    "captured",
    [
        with_(host={"kernel": "Linux 6.12", "cores": "64"}),
        with_(probe={}),
        with_cpu(model_name="AMD EPYC 9B45"),
        with_cpu(dispatch={name: value for name, value in CPU.dispatch.items() if name != "torch/aten"}),
        with_(settings={"MKL_CBWR": "AUTO", "OMP_NUM_THREADS": "2"}),
        with_(native={"libc": "glibc 2.36"}),
    ],
)
def test_what_is_only_recorded_leaves_the_signature_alone(captured):
    assert signed(captured) == signed()


@pytest.mark.parametrize("change", [{"vendor": "GenuineIntel"}, {"family": "6"}, {"model": "17"}])
def test_the_cpu_model_counts_under_native_alone(change):
    other = with_cpu(**change)
    assert signed(other) != signed()
    assert signed(other, profile=Profile.X86_64_V3) == signed(profile=Profile.X86_64_V3)


def test_a_masked_instruction_set_counts_under_native_alone():
    other = with_cpu(dispatch={**CPU.dispatch, "isa": "avx2 avx512f fma"})
    assert signed(other) != signed()
    assert signed(other, profile=Profile.X86_64_V3) == signed(profile=Profile.X86_64_V3)


def test_the_profiles_and_the_image_count():
    assert signed(profile=Profile.X86_64_V3) != signed()
    assert signed(image=None) != signed()
    assert signed(image=msgspec.structs.replace(IMAGE, manifest=TWO)) != signed()
    assert signed(image=msgspec.structs.replace(IMAGE, name="renamed")) == signed()


@pytest.mark.parametrize("profile", Profile)
def test_the_signature_is_that_of_the_parts_it_covers(profile):
    assert environment_signature(BASE, IMAGE, profile) == signature(covered_parts(BASE, ONE, profile))
    assert environment_signature(BASE, None, profile) == signature(covered_parts(BASE, None, profile))
    assert covered_parts(BASE, ONE, profile)["settings"] == {"MKL_CBWR": "AUTO"}
