"""Run the code of stdin inside the Django project; `migrate` makes its tables by its own migrations first."""

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "djsettings")
django.setup()

if __name__ == "__main__":
    if sys.argv[1:] == ["migrate"]:
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
    exec(compile(sys.stdin.read(), "stdin", "exec"), {})
