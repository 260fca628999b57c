import hashlib
import io
import zipfile
from base64 import urlsafe_b64encode

from benchmarks.changed import changed_wheel


def wheel() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small/__init__.py", "x = 1\n")
        archive.writestr("small/other.py", "y = 1\n")
        archive.writestr("small-1.0.dist-info/RECORD", "small/__init__.py,sha256=old,6\nsmall/other.py,sha256=o,6\n")
    return target.getvalue()


def test_a_changed_wheel_differs_by_one_line_and_its_record_says_so() -> None:
    changed = changed_wheel(wheel(), "# 7")
    assert changed != changed_wheel(wheel(), "# 8")
    with zipfile.ZipFile(io.BytesIO(changed)) as archive:
        text = archive.read("small/__init__.py")
        record = archive.read("small-1.0.dist-info/RECORD").decode()
        assert archive.read("small/other.py") == b"y = 1\n"
    assert text == b"x = 1\n\n# 7\n"
    checksum = urlsafe_b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")
    assert record == f"small/__init__.py,sha256={checksum},{len(text)}\nsmall/other.py,sha256=o,6\n"
