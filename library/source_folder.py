#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: a folder of source files."""

DOCUMENTATION = r"""
---
module: source_folder
short_description: Have a folder hold these text files, and no others
description:
  - Writes all files of a program at once, where M(ansible.builtin.copy) would log in twice for each of them;
    and removes those that the program has no more.
  - Each file is replaced in one step. Folders inside the folder are left alone.
author:
  - The Matinee authors
options:
  path:
    description: The folder, which is made if it is not there. It and its files can be read by everybody.
    type: path
    required: true
  files:
    description: Text of each file, by its name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Install a Python package
  source_folder:
    path: /usr/local/lib/matinee/matinee_host
    files: "{{ dict(names | map('basename') | zip(query('ansible.builtin.file', *names, rstrip=false))) }}"
  vars:
    names: "{{ query('ansible.builtin.fileglob', 'matinee_host/*.py') }}"
"""

RETURN = r"""
written:
  description: Names of the files that were written, or would be.
  returned: success
  type: list
  elements: str
  sample: [engine.py]
removed:
  description: Names of the files that were removed, or would be.
  returned: success
  type: list
  elements: str
  sample: []
"""

import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def write(module: AnsibleModule, file: Path, text: str) -> None:
    """Replace a file in one step."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=module.tmpdir, delete=False) as beside:
        beside.write(text)
    module.atomic_move(beside.name, str(file))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    folder, wanted = Path(module.params["path"]), module.params["files"]
    if wrong := [name for name in wanted if name != Path(name).name or not isinstance(wanted[name], str)]:
        module.fail_json(
            msg=f"files must be texts by the names that they have in the folder: {', '.join(wrong)}"
        )
    try:
        there = {file.name: file.read_text() for file in folder.glob("*") if file.is_file()}
        written = sorted(name for name in wanted if there.get(name) != wanted[name])
        removed = sorted(there.keys() - wanted.keys())
        if not module.check_mode:
            folder.mkdir(parents=True, exist_ok=True)
            for name in written:
                write(module, folder / name, wanted[name])
                (folder / name).chmod(0o644)
            folder.chmod(0o755)  # whatever the umask
            for name in removed:
                (folder / name).unlink()
    except (OSError, UnicodeError) as error:
        module.fail_json(msg=f"{folder} cannot be made what it is to be: {error}")
    diff = [
        {
            "before_header": str(folder / name),
            "after_header": str(folder / name),
            "before": there.get(name, ""),
            "after": wanted.get(name, ""),
        }
        for name in [*written, *removed]
    ]
    module.exit_json(changed=bool(diff), written=written, removed=removed, diff=diff)


if __name__ == "__main__":
    main()
