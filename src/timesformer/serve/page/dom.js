// Elements, and how numbers are written.

export const byId = (id) => document.getElementById(id);

/** An element with properties or attributes. Text is only ever text: nothing here reads HTML. */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** As many children as there are values: those that are there are kept, so that focus stays where it is. */
export function sync(parent, values, create, update) {
  while (parent.children.length > values.length) parent.lastChild.remove();
  values.forEach((value, number) => {
    if (number === parent.children.length) parent.append(create(number));
    update(parent.children[number], value, number);
  });
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What a screen reader says next. */
export function say(text) {
  const said = byId("said");
  said.textContent = said.textContent === text ? `${text} ` : text; // the same again is said again
}

export function showNotice(element, text) {
  element.hidden = !text;
  element.textContent = text;
}

export const percent = (score) => `${(100 * score).toFixed(1)}%`;

export function clock(seconds, digits = 1) {
  const whole = Math.round(seconds * 10 ** digits), minute = 60 * 10 ** digits;
  const rest = ((whole % minute) / 10 ** digits).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  const minutes = Math.floor(whole / minute);
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

export function bytes(count) {
  if (count < 1e6) return `${Math.ceil(count / 1e3)} kB`;
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} MB` : `${(count / 1e9).toFixed(2)} GB`;
}
