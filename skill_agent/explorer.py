"""The explorer's page: sliders that move z, and arms that show what becomes of it (needs the extra ``explore``)."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import queue
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import viser

from skill_agent.explorer_scene import COLOURS, Shown
from skill_agent.exploring import Arms, Scene, draw, means
from skill_agent.policy import SkillPolicy
from skill_envs import checks

HOST = "127.0.0.1"  # nobody else is to reach the page
_REST = 1.0  # between an episode's end and the next one's start [s]
_STEP = 0.01  # of a slider
_ALL = "all"


class _Server(viser.ViserServer):
    """A server that nobody beside this machine reaches: viser's own would offer itself to the world where asked to."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """No public address."""
        return None


class Page:
    """A web page on this machine, on which skills act until `stop` is called.

    The page's own threads only ask; `run` does what they ask for, between two steps.

    Attributes:
        arms: what is shown.
        url: where the page is.
    """

    def __init__(
        self, skills: SkillPolicy, scenes: Sequence[Scene], *, arms: int = 3, seed: int = 0, port: int = 8080
    ) -> None:
        """Serve the page.

        Args:
            skills: what acts.
            scenes: what can be chosen; the first one is shown at first.
            arms: copies of the scene, at most `skill_agent.exploring.MOST_ARMS`.
            seed: of the first start state.
            port: of the page; the next free one is taken where it is in use.

        Raises:
            ValueError: an argument out of range, or a scene that can't be shown; see `skill_agent.exploring.Arms`.
        """
        checks.integer("port", port, 1, 65_535)
        self._skills, self._scenes = skills, {scene.name: scene for scene in scenes}
        self._means, self._rng = means(skills), np.random.default_rng(seed)
        self.arms = Arms(skills, scenes[0], arms, seed)
        self._chosen: list[int] = [0]  # whose z the sliders are
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._paused = self._stopped = False
        # Browsers open connections that they close unused. That is no error to tell of.
        logging.getLogger("websockets").setLevel(logging.CRITICAL)
        with contextlib.redirect_stdout(io.StringIO()):  # where the page is, the command says
            self._server = _Server(host=HOST, port=port, label="Skill Embed", verbose=False)
        self.url = f"http://{HOST}:{self._server.get_port()}/"
        self._server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._server.gui.main_panel.dock_right()
        self._server.gui.set_panel_label("Skill Embed")
        self._shown = Shown(self._server, self.arms)
        self._make_controls()
        self._show()

    def run(self) -> None:
        """Play episodes at the speed of a clock, until `stop`; the page ends with it."""
        rest = 0.0  # until the next episode [s]
        while not self._stopped:
            began = time.perf_counter()
            while not self._asked.empty():
                self._asked.get()()
            if self.arms.over.all():
                rest += self.arms.period
            if rest > _REST:
                self.arms.reset()
                rest = 0.0
            if not self._paused and not self.arms.over.all():
                self.arms.step()
            self._show()
            time.sleep(max(0.0, began + self.arms.period - time.perf_counter()))
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()
        self.arms.close()

    def stop(self) -> None:
        """Let `run` end after its present step."""
        self._stopped = True

    # The controls -----------------------------------------------------------------------------------

    def _make_controls(self) -> None:
        gui = self._server.gui
        if len(self._scenes) > 1:
            scene = gui.add_dropdown("scene", list(self._scenes))
            scene.on_update(lambda _: self._ask(lambda: self._choose_scene(scene.value)))
        self._table = gui.add_markdown("")
        self._folder = gui.add_folder("")
        with self._folder:
            names = [str(k + 1) for k in range(len(self.arms.code))]
            arm = gui.add_button_group("arm", [*names, _ALL])
            arm.on_click(lambda _: self._ask(lambda: self._choose_arm(arm.value)))
            self._sliders = [self._slider(k) for k in range(self.arms.code.shape[1])]
            for name, code in self._means.items():
                button = gui.add_button(f"mean of {name}")
                button.on_click(partial(self._on_mean, code))
            drawn = gui.add_button("draw of p(z|t)", color="gray")
            drawn.on_click(lambda _: self._ask(lambda: self._set(draw(self._skills, self._rng))))
        self._follow()
        with gui.add_folder("The episode"):
            paused = gui.add_checkbox("pause", initial_value=False)
            paused.on_update(lambda _: self._ask(lambda: self._pause(paused.value)))
            again, other = gui.add_button("reset", color="gray"), gui.add_button("another start", color="gray")
            again.on_click(lambda _: self._ask(lambda: self.arms.reset()))
            other.on_click(lambda _: self._ask(lambda: self.arms.reset(self.arms.seed + 1)))

    def _slider(self, k: int) -> Any:
        low, high = self._range(k)
        slider = self._server.gui.add_slider(f"z{k + 1}", low, high, step=_STEP, initial_value=low)

        def changed(event: Any) -> None:
            # Without a client it is this program that has moved it.
            if event.client is not None:
                self._ask(lambda: self._set_entry(k, slider.value))

        slider.on_update(changed)
        return slider

    def _range(self, k: int) -> tuple[float, float]:
        """Lowest and highest value of a slider: the box of z, in whole steps."""
        low, high = self.arms.box.low[k] / _STEP, self.arms.box.high[k] / _STEP
        return round(math.floor(low) * _STEP, 2), round(max(math.ceil(high), math.floor(low) + 1) * _STEP, 2)

    def _on_mean(self, code: Any, _: Any) -> None:
        self._ask(lambda: self._set(code))

    def _ask(self, wish: Callable[[], None]) -> None:
        self._asked.put(wish)

    # What is asked for ------------------------------------------------------------------------------

    def _choose_scene(self, name: str) -> None:
        former = self.arms
        self.arms = Arms(self._skills, self._scenes[name], len(former.code), former.seed)
        self.arms.code = former.code
        former.close()
        self._shown.remove()
        self._shown = Shown(self._server, self.arms)

    def _choose_arm(self, name: str) -> None:
        self._chosen = list(range(len(self.arms.code))) if name == _ALL else [int(name) - 1]
        self._follow()

    def _pause(self, paused: bool) -> None:
        self._paused = paused

    def _set(self, code: Any) -> None:
        self.arms.code[self._chosen] = code
        self.arms.forget(self._chosen)
        self._follow()

    def _set_entry(self, k: int, value: float) -> None:
        self.arms.code[self._chosen, k] = value
        self.arms.forget(self._chosen)

    def _follow(self) -> None:
        """Let the sliders show the z of the first arm that is chosen."""
        whose = "all arms" if len(self._chosen) > 1 else f"arm {self._chosen[0] + 1}"
        self._folder.label = f"The skill z of {whose}"
        for k, slider in enumerate(self._sliders):
            slider.value = float(np.clip(round(float(self.arms.code[self._chosen[0], k]), 2), *self._range(k)))

    # What is shown ----------------------------------------------------------------------------------

    def _show(self) -> None:
        self._shown.update()
        rows = ["| arm | z | in the goal | episodes |", "|---|---|---|---|"]
        for k, code in enumerate(self.arms.code):
            colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[k])
            said = {None: "", True: "**yes**", False: "no"}[self.arms.success[k]]
            z = ", ".join(f"{value:.1f}" for value in code[:4]) + (", ..." if len(code) > 4 else "")
            name = f'<span style="color:{colour}">&#9679;</span>&nbsp;{k + 1}{" *" if k in self._chosen else ""}'
            count = str(self.arms.finished[k])
            if self.arms.success[k] is not None:
                count = f"{self.arms.succeeded[k]} of {count}"
            rows.append(f"| {name} | {z} | {said} | {count} |")
        text = "\n".join(rows)
        if text != self._table.content:
            self._table.content = text
