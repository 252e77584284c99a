/* The sequence chart: a slider that stops time, a step that is clicked, the steps of one message
   shown together, and the newest step kept in sight while the page is live.

   Without this the slider is a form, and the server draws the moment. */

const live = document.getElementById("live");
const status = document.getElementById("live-status");
/* The step at which time stands still, from 1 on; 0 while it goes on. */
let stopped = 0;
/* Whether the last steps were in sight when the chart was last looked at. */
let following = true;

if (live && document.getElementById("step")) start();
else if (live) new MutationObserver((_, watching) => begin(watching)).observe(live, { childList: true });

/* A chart that was not there yet when the page was loaded. */
function begin(watching) {
  if (!document.getElementById("step")) return;
  watching.disconnect();
  start();
}

function start() {
  document.documentElement.classList.add("scripted");
  const current = live.querySelector(".chart .current");
  if (current) {
    stopTime();
    stopped = steps().indexOf(current) + 1;
  }

  live.addEventListener("input", (event) => {
    if (event.target.id === "step") stopAt(Number(event.target.value));
  });
  live.addEventListener("click", (event) => {
    const button = event.target.closest("#scrub [name=move]");
    if (button) {
      event.preventDefault();
      stopAt((stopped || steps().length) + Number(button.value));
      return;
    }
    const step = event.target.closest(".chart .step");
    if (step) stopAt(steps().indexOf(step) + 1);
  });
  live.addEventListener("submit", (event) => {
    if (event.target.id === "scrub") event.preventDefault();
  });
  live.addEventListener("pointerover", (event) => {
    const message = event.target.closest?.(".chart .step")?.dataset.message;
    for (const step of steps()) {
      step.classList.toggle("same", message !== undefined && step.dataset.message === message);
    }
  });

  // The page is live again: time goes on.
  if (status) {
    new MutationObserver(() => {
      if (stopped && status.dataset.state === "live") goOn();
    }).observe(status, { attributeFilter: ["data-state"] });
  }
  new MutationObserver(drawnAgain).observe(live, { childList: true, subtree: true });
  live.addEventListener(
    "scroll",
    (event) => {
      const box = event.target;
      if (!box.classList?.contains("chart-scroll")) return;
      following = box.scrollTop + box.clientHeight >= box.scrollHeight - 40;
    },
    { capture: true, passive: true },
  );
  if (stopped) show();
  else drawnAgain();
}

function steps() {
  return [...live.querySelectorAll(".chart .step")];
}

/* The page was refreshed: the slider is at the end, and the newest steps are in sight. */
function drawnAgain() {
  const slider = document.getElementById("step");
  if (stopped || !slider) return;
  slider.value = slider.max;
  const box = live.querySelector(".chart-scroll[data-follow]");
  if (box && following) box.scrollTop = box.scrollHeight;
}

function stopTime() {
  if (status && !status.hidden && status.dataset.state !== "paused") {
    status.querySelector("button").click();
  }
}

function stopAt(step) {
  stopTime();
  stopped = Math.min(Math.max(step, 1), steps().length);
  show();
}

function goOn() {
  stopped = 0;
  for (const part of live.querySelectorAll(".chart :is(.current, .later)")) {
    part.classList.remove("current", "later");
  }
  drawnAgain();
}

/* What has happened up to here is strong, the rest is faint. */
function show() {
  const all = steps();
  all.forEach((step, place) => {
    step.classList.toggle("current", place === stopped - 1);
    step.classList.toggle("later", place > stopped - 1);
  });
  for (const hold of live.querySelectorAll(".chart .hold")) {
    hold.classList.toggle("later", Number(hold.dataset.first) > stopped);
  }
  const slider = document.getElementById("step");
  if (Number(slider.value) !== stopped) slider.value = stopped;
  const step = all[stopped - 1];
  tell(step, `${stopped} of ${all.length}`);
  bringIntoSight(step);
}

function tell(step, place) {
  const moment = document.getElementById("moment");
  const strong = document.createElement("b");
  strong.textContent = place;
  const said = document.createElement("bdi");
  said.textContent = step.querySelector("title").textContent;
  moment.replaceChildren(strong, " ", said);
  if (step.dataset.message !== undefined) {
    const link = document.createElement("a");
    link.href = document.getElementById("scrub").dataset.messageUrl.replace("0", step.dataset.message);
    link.textContent = "Message";
    moment.append(" ", link);
  }
}

function bringIntoSight(step) {
  const box = step.closest(".chart-scroll");
  const heads = box.querySelector(".chart-heads").offsetHeight;
  const times = box.querySelector(".chart-times").offsetWidth;
  const around = box.getBoundingClientRect();
  const row = step.getBoundingClientRect();
  if (row.top < around.top + heads || row.bottom > around.bottom) {
    box.scrollTop += row.top - around.top - (box.clientHeight + heads - row.height) / 2;
  }
  const words = step.querySelector("text").getBoundingClientRect();
  if (words.left < around.left + times || words.right > around.right) {
    box.scrollLeft += words.left - around.left - (box.clientWidth + times - words.width) / 2;
  }
}
