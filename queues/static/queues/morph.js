/* Makes one tree of nodes look like another and keeps every node that can be kept, and with it
   what only the browser knows: focus, scroll position, selected text, open details and popovers,
   and what has been typed. */

/** Gives the children of `old` the form of those of `fresh`, which is used up. */
export function morph(old, fresh) {
  const focused = document.activeElement;
  const selected = selectionWithin(old);
  morphChildren(old, fresh);
  if (old.contains(focused) && document.activeElement !== focused) {
    focused.focus({ preventScroll: true });
  }
  if (selected) select(selected);
}

/* Nodes with an id or a data-key are told apart by it, others by their kind and place. */
function key(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "";
}

function same(one, other) {
  return one.nodeName === other.nodeName && key(one) === key(other);
}

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.childNodes) {
    if (key(child)) keyed.set(key(child), child);
  }
  const wanted = [...fresh.childNodes];
  let place = old.firstChild;
  wanted.forEach((next, index) => {
    // What nobody wants any more goes first, so that what is below it need not move.
    while (place && !wanted.slice(index).some((later) => same(place, later))) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
    let match = place && same(place, next) ? place : null;
    if (!match && key(next)) match = keyed.get(key(next)) ?? null;
    if (!match || !same(match, next) || match.parentNode !== old) {
      old.insertBefore(next, place);
      return;
    }
    if (match === place) place = place.nextSibling;
    else move(old, match, place);
    morphNode(match, next);
  });
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

function move(parent, node, place) {
  if (parent.moveBefore) parent.moveBefore(node, place);
  else parent.insertBefore(node, place);
}

function morphNode(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.isEqualNode(fresh)) return;
  morphAttributes(old, fresh);
  morphChildren(old, fresh);
}

function morphAttributes(old, fresh) {
  for (const { name, value } of [...fresh.attributes]) {
    if (!isReaders(old, name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!isReaders(old, name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
}

/* Whether an attribute belongs to whoever reads the page. What is typed into a field is none: it
   wins over the attribute. */
function isReaders(element, name) {
  return name === "open" && element.localName === "details";
}

function selectionWithin(root) {
  const { anchorNode, anchorOffset, focusNode, focusOffset, isCollapsed } = getSelection();
  if (isCollapsed || !root.contains(anchorNode) || !root.contains(focusNode)) return null;
  return { anchorNode, anchorOffset, focusNode, focusOffset };
}

function select({ anchorNode, anchorOffset, focusNode, focusOffset }) {
  if (!anchorNode.isConnected || !focusNode.isConnected) return;
  const within = (node, offset) =>
    Math.min(offset, node.data === undefined ? node.childNodes.length : node.data.length);
  getSelection().setBaseAndExtent(
    anchorNode,
    within(anchorNode, anchorOffset),
    focusNode,
    within(focusNode, focusOffset),
  );
}
