/* The meaning of a word while the pointer or the focus is on it. A click shows it without this,
   and so does a tap. */

/* Milliseconds for the pointer to get from a word to its meaning. */
const WAY = 200;

let closing = 0;
let asking = null;

function meaningOf(element) {
  return element instanceof Element ? element.closest(".term")?.popoverTargetElement : null;
}

function open(target) {
  const meaning = meaningOf(target);
  if (!meaning) return;
  clearTimeout(closing);
  const term = target.closest(".term");
  if (meaning.matches(":popover-open")) {
    if (asking === term) return;
    // It moves to the word that asks for it now.
    meaning.hidePopover();
  }
  asking = term;
  meaning.showPopover({ source: term });
}

function close() {
  document.querySelector(".word:popover-open")?.hidePopover();
}

// Elsewhere it would cover the word itself.
if (CSS.supports("position-area", "bottom")) {
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    if (event.target.closest?.(".word")) clearTimeout(closing);
    open(event.target);
  });
  document.addEventListener("pointerout", (event) => {
    if (event.pointerType !== "mouse" || !event.target.closest?.(".term, .word")) return;
    clearTimeout(closing);
    closing = setTimeout(close, WAY);
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches(":focus-visible")) open(event.target);
  });
  document.addEventListener("focusout", (event) => {
    if (meaningOf(event.target)) close();
  });
}
