/* Follows the switch: a stream of events says when to look again, and htmx fetches the page's own
   address and puts its #live in the place of the one that is shown.

   The page says whether it is live, paused, or stale and since when. While nobody sees it, it
   asks for nothing. */

import { morph } from "./morph.js";

/* Milliseconds between two looks at least; the same as a multiple of what a look has cost, so
   that it is never more than a twentieth of the time; how long the stream may be silent; and when
   one that was refused is tried again. */
const PAUSE = 1_000;
const COST = 20;
const SILENCE = 12_000;
const RETRY = 5_000;

const shown = document.getElementById("live");
const status = document.getElementById("live-status");
const main = document.getElementById("main");
/* Whether the last look has shown something. */
let looked = false;

if (shown && status) {
  htmx.defineExtension("live", {
    isInlineSwap: (style) => style === "live",
    handleSwap(style, target, fragment) {
      const fresh = fragment.querySelector("#live");
      if (!fresh) return [];
      const focused = document.activeElement;
      morph(target, fresh);
      looked = true;
      // Where the focus was is gone: go on nearby, not at the top of the page.
      if (!focused.isConnected) main?.focus({ preventScroll: true });
      return [target];
    },
  });
  start();
}

function start() {
  const words = status.querySelector("[role=status]");
  const button = status.querySelector("button");
  /* The newest event that the stream has told of, and when; and as of when the page is right. */
  let known = status.dataset.after;
  let told = Date.now() / 1_000;
  let fresh = told;
  let source = null;
  let paused = false;
  let wanted = false;
  let looking = false;
  let soonest = 0;
  let next = 0;
  let silence = 0;
  let retry = 0;

  function say(state) {
    const text = {
      live: "Live",
      paused: "Paused",
      stale: `Stale since ${new Date(fresh * 1_000).toISOString().slice(11, 19)}`,
    }[state];
    status.dataset.state = state;
    words.className = `mark mark-${state}`;
    if (words.textContent !== text) words.textContent = text;
  }

  function listen() {
    clearTimeout(retry);
    if (source || paused || document.hidden) return;
    source = new EventSource(`${status.dataset.url}?after=${known}`);
    source.addEventListener("changed", hear);
    source.addEventListener("beat", hear);
    source.addEventListener("open", () => {
      if (status.dataset.state === "stale") look();
    });
    source.addEventListener("error", () => {
      say("stale");
      // A refusal is final, a lost connection is not.
      if (source.readyState === EventSource.CLOSED) listenAgain();
    });
    clearTimeout(silence);
    silence = setTimeout(listenAgain, SILENCE);
  }

  function listenAgain() {
    stop();
    say("stale");
    retry = setTimeout(listen, RETRY);
  }

  function stop() {
    for (const timer of [silence, retry, next]) clearTimeout(timer);
    next = 0;
    source?.close();
    source = null;
  }

  function hear(event) {
    const { number, now } = JSON.parse(event.data);
    known = number;
    told = now;
    clearTimeout(silence);
    silence = setTimeout(listenAgain, SILENCE);
    // Also when nothing has happened: what the page says about time goes on.
    look();
  }

  /* Look again as soon as that may be. */
  function look() {
    wanted = true;
    if (looking || next || paused || document.hidden) return;
    next = setTimeout(refresh, Math.max(0, soonest - performance.now()));
  }

  async function refresh() {
    next = 0;
    wanted = false;
    looking = true;
    looked = false;
    const asOf = told;
    const began = performance.now();
    try {
      await htmx.ajax("GET", location.pathname + location.search, {
        source: shown,
        target: shown,
        select: "#live",
        swap: "live",
      });
    } catch {
      // No answer came; that is seen below.
    }
    looking = false;
    const ended = performance.now();
    soonest = ended + Math.max(looked ? PAUSE : RETRY, COST * (ended - began));
    if (looked) fresh = asOf;
    if (paused || document.hidden) return;
    if (!looked) {
      say("stale");
      look();
      return;
    }
    if (source?.readyState === EventSource.OPEN) say("live");
    if (wanted) look();
  }

  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    if (paused) {
      stop();
      say("paused");
    } else {
      resume();
    }
  });

  document.addEventListener("visibilitychange", () => {
    if (paused) return;
    if (document.hidden) {
      stop();
      say("paused");
    } else {
      resume();
    }
  });

  function resume() {
    say("live");
    listen();
    soonest = 0;
    look();
  }

  status.hidden = false;
  say(document.hidden ? "paused" : "live");
  listen();
}
