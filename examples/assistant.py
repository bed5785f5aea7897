"""An offline assistant: it reads your files once, and then answers from them.

python examples/assistant.py PROFILE.db BUNDLE [FILE_OR_FOLDER_TO_IMPORT]
"""

import sys

from edgepersona import EdgePersonaError, Profile, SamplingParams, Task
from edgepersona.importers import import_into


def main(profile_path: str, bundle_path: str, import_path: str = "") -> None:
    """Open the profile, import what was named, and answer until an empty line."""
    params = SamplingParams(max_new_tokens=200, temperature=0.3)
    turns: list[tuple[str, str]] = []
    with Profile.open(profile_path, bundle_path) as profile:
        if import_path:
            import_into(profile, import_path)  # a second run adds only what is new
        print(f"{len(profile)} records")
        while question := read_question():
            try:
                stream = profile.stream(Task(question, turns=tuple(turns)), params=params)
            except EdgePersonaError as error:
                print(error)
                continue
            for piece in stream:
                print(piece, end="", flush=True)
            answer = stream.result
            print(f"\n[from records {', '.join(answer.records) or 'none'}]")
            turns += [("user", question), ("assistant", answer.text)]


def read_question() -> str:
    """Return the next question, empty at the end."""
    try:
        return input("> ").strip()
    except EOFError:
        return ""


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (EdgePersonaError, KeyboardInterrupt) as error:
        sys.exit(str(error) or "interrupted")
    except TypeError:
        sys.exit(__doc__)
