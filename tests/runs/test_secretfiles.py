import pytest

from harness.runs.secretfiles import secret_files

BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\n"


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".ENV", ".env.local", "prod.env", ".envrc", ".netrc", "_netrc", ".npmrc", ".pypirc", "pip.conf",
        ".pgpass", ".htpasswd", ".git-credentials", "auth.json", "kubeconfig", "kubeconfig.yaml", "kaggle.json",
        "secrets.toml", "credentials.json", "service-account.json", "service_account-prod.json",
        "client_secret_1.json", "app.keystore", "app.jks", "key.p12", "cert.PFX", "server.PEM", "server.key",
        "login.kdbx", "putty.ppk", "id_rsa", "id_ed25519_work", ".ssh/config", ".aws/credentials",
        ".AWS/config", ".gnupg/trustdb.gpg", ".kube/config", ".azure/a/b.json", ".docker/config.json",
        ".config/gcloud/token", "deploy/.docker/config.json", "deploy/.ssh/id_ed25519_work",
    ],
)  # fmt: skip
def test_a_file_that_is_called_as_credentials_are_is_found(path, tmp_path):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("x")
    assert secret_files(tmp_path, [path]) == (path,)
    (tmp_path / path).unlink()
    (tmp_path / path).symlink_to("elsewhere")
    assert secret_files(tmp_path, [path]) == (path,), "a link of that name is there for its target's sake"


@pytest.mark.parametrize(
    "path",
    [
        ".env.example", "prod.env.template", "example.env", ".env-sample", "id_rsa.pub", ".ssh/id_ed25519.pub",
        "env.py", "environment.yml", "config.json", "conf/config.json", ".docker/Dockerfile", "id_mapping.py",
        "id_rsa_tools.py", "keys.py", "key.md", "pip.py", "auth.py", "secrets.py", "credentials.py",
        "ssh/config", "service.json", "kube.py", "settings.json.dist", "token.py", "monkey", "public.pub",
        ".gitignore", ".dockerignore", ".envrc.example",
    ],
)  # fmt: skip
def test_what_research_code_holds_is_not_taken_for_credentials(path, tmp_path):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("x")
    assert secret_files(tmp_path, [path]) == ()


@pytest.mark.parametrize(
    "text",
    [
        f"-----BEGIN PRIVATE KEY-----\n{BODY}",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\r\n{BODY}",
        f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{BODY}",
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{BODY}",
        f"-----BEGIN CERTIFICATE-----\n{BODY}-----END CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\n{BODY}",
        '{"type": "service_account", "private_key" : "-----BEGIN PRIVATE KEY-----\\nMII"}',
    ],
)
def test_a_private_key_is_found_whatever_its_file_is_called(text, tmp_path):
    (tmp_path / "notes.txt").write_text(text, newline="")
    (tmp_path / "link").symlink_to("notes.txt")
    assert secret_files(tmp_path, ["link", "notes.txt"]) == ("notes.txt",)


@pytest.mark.parametrize(
    "text",
    [
        f"-----BEGIN CERTIFICATE-----\n{BODY}",
        f"-----BEGIN PUBLIC KEY-----\n{BODY}",
        "Put your key here:\n\n-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
        'KEY = re.compile(rb"-----BEGIN (RSA )?PRIVATE KEY-----")\n',
        '{"private_key": "path/to/key"}',
        "",
    ],
)
def test_text_about_keys_is_no_key(text, tmp_path):
    (tmp_path / "notes.txt").write_text(text)
    assert secret_files(tmp_path, ["notes.txt"]) == ()


def test_no_more_than_the_beginning_of_a_large_file_is_read(tmp_path):
    key = f"-----BEGIN PRIVATE KEY-----\n{BODY}"
    (tmp_path / "near").write_text("\n" * 60_000 + key)
    (tmp_path / "far").write_text("\n" * 70_000 + key)
    assert secret_files(tmp_path, ["near", "far"]) == ("near",)
