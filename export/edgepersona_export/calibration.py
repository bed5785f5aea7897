"""The texts by which ranges and roundings are set: short, long, prose, code, several scripts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Written for this purpose. What matters is variety, not size: a channel whose range was never
# seen here is clipped when it is used.
TEXTS = (
    "ok",
    "Thanks, see you tomorrow!",
    "Re: rent",
    "🙂🎉",
    "?!",
    "2026-03-14 09:26:53",
    "Total: 1,204.50 EUR (VAT 20 %)",
    "call mum, buy oat milk, return the library books",
    "I keep a small notebook by the bed, and most of what I write in it makes no sense at dawn.",
    "The committee met on Tuesday to discuss the new cycling path along the river. Residents had "
    "asked for better lighting and for benches every two hundred metres; the engineers answered "
    "that both fit the budget if the bridge is repaired a year later. A vote follows in June.",
    "Fix a race between the writer and the checkpoint\n\nThe flag was read before the lock was "
    "taken, so a reader could see a page that had already been replaced. Take the lock first. "
    "The test that failed one time in forty now passes ten thousand times.",
    "def median(values):\n    ordered = sorted(values)\n    half = len(ordered) // 2\n"
    "    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2",
    "#include <vector>\nint main(int argc, char **argv) { std::vector<int> v(argc, 7); "
    "return v.size() == 0 ? 1 : v[0] & 0x3f; }",
    "SELECT name, COUNT(*) FROM orders WHERE paid = 0 GROUP BY name ORDER BY 2 DESC LIMIT 5;",
    "curl -s https://example.org/api/v2/items?limit=10 | jq '.items[] | .id' > ids.txt",
    "Traceback (most recent call last): File \"app.py\", line 12, in <module> KeyError: 'user'",
    "We present a method for adapting small language models to single users without gradient "
    "steps. A projector maps the mean of past embeddings to one soft token; on three data sets it "
    "recovers most of the gain of fine-tuning at a thousandth of the cost. Ablations show that "
    "the order of the history hardly matters, while its length does.",
    "This film wants to be a thriller and a comedy and ends up as neither. The lead mumbles, the "
    "score shouts, and the twist arrives twenty minutes after everyone has guessed it. Still, one "
    "scene on the ferry is worth the ticket: no music, no cuts, two people who will not look at "
    "each other. If only the rest had trusted its silences as much.",
    "Dear Ms Okafor, thank you for your letter of 3 May. Your application is complete and will "
    "be decided within six weeks. Until then no further documents are needed. Should your "
    "address change, please tell us by post or by telephone on 0555 0142. Yours sincerely",
    "lol no way, did he really?? anyway i'm running late, start without me pls",
    "Dr. Novak's patient (aged 54) had hypertension, type-2 diabetes and a history of migraine.",
    "Preheat the oven to 180 °C. Rub 120 g butter into 250 g flour, add an egg, chill for an hour.",
    "Quarterly revenue rose 4.2% to $18.7bn, beating forecasts; shares fell in late trading.",
    "The mitochondrion, a double-membraned organelle, makes most of a cell's ATP.",
    "Wo ist der nächste Bahnhof? Ich habe meinen Schlüssel im Büro vergessen.",
    "Il pleut depuis trois jours et le chat refuse de sortir ; moi aussi, à vrai dire.",
    "¿Quién dejó la ventana abierta? Mañana llega la nieve, según el periódico.",
    "Сегодня я наконец дописал отчёт и отправил его начальнику.",
    "昨日は友達と映画を見に行きました。とても面白かったです。",
    "我想预订明天晚上七点两个人的座位，谢谢。",
    "오늘 회의는 세 시로 미뤄졌습니다.",
    "اجتماع الفريق يوم الأحد الساعة العاشرة صباحا",
    "मुझे कल सुबह जल्दी उठना है।",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30",
    "- [ ] water the plants\n- [x] pay the electrician\n- [ ] renew passport\n- [ ] ask Ines",
    "Meeting notes: (1) launch moved to week 32; (2) Ravi owns the migration; (3) no budget for "
    "a second designer this year; (4) try the cheaper host and measure before anyone complains. "
    "Open question: who talks to legal about the data of former customers? Everyone thought "
    "someone else had done it. Next meeting in two weeks, same room, shorter agenda, no slides.",
)

_WINDOW = 256
_WINDOWS = 64


def token_windows(
    encode: Callable[[str], list[int]], *, first: int | None = None, positions: int = _WINDOW
) -> NDArray[np.int64]:
    """Return token ids (64, 256) to calibrate an LLM with, or fewer where that is all there is.

    They are those of ``TEXTS`` and then of the topics of Python's reference that verification does
    not read, one after the other. ``first`` begins each window, for models that expect it;
    ``positions`` is the most that a window may have.
    """
    from edgepersona_export.verify import other_texts

    begins = [] if first is None else [first]
    size = min(_WINDOW, positions) - len(begins)
    ids: list[int] = []
    for text in (*TEXTS, *other_texts()):
        ids += encode(text)
        if len(ids) >= size * _WINDOWS:
            break
    size = min(size, len(ids))
    starts = range(0, min(len(ids) // size, _WINDOWS) * size, size)
    return np.array([begins + ids[start : start + size] for start in starts], np.int64)
