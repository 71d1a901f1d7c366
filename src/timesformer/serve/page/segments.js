// The rows of a timeline as segments. A moment has the class of the window whose centre is nearest to it.

/** rows: of /v1/timeline, in the order of time. Gives {start, end, label, score, rows}; score: the mean of its windows. */
export function segmentsOf(rows) {
  const found = [];
  rows.forEach((row, number) => {
    const start = number ? between(rows[number - 1], row) : row.start_s;
    const end = number + 1 < rows.length ? between(row, rows[number + 1]) : row.end_s;
    const last = found.at(-1);
    if (last?.label === row.label) {
      last.end = end;
      last.pieces.push({ start, end, score: row.score });
    } else {
      found.push({ start, end, label: row.label, pieces: [{ start, end, score: row.score }] });
    }
  });
  for (const one of found) one.score = one.pieces.reduce((sum, piece) => sum + piece.score, 0) / one.pieces.length;
  return found;
}

const centre = (row) => (row.start_s + row.end_s) / 2;
const between = (row, next) => (centre(row) + centre(next)) / 2;

/** The number of the segment at a time; -1 where there is none. */
export function segmentAt(segments, seconds) {
  return segments.findIndex((one, number) =>
    one.start <= seconds && (seconds < one.end || (number === segments.length - 1 && seconds <= one.end + 0.5)));
}

/** Which of the eight colours of the look each class has: its own where they suffice, else in the order of appearance. */
export class Colours {
  constructor(labels) {
    this.given = new Map(labels.length <= ORDER.length ? labels.map((label, number) => [label, ORDER[number]]) : []);
  }

  of(label) {
    if (!this.given.has(label)) this.given.set(label, ORDER[this.given.size] ?? OTHERS);
    return this.given.get(label);
  }
}

const ORDER = [1, 2, 3, 4, 5, 6, 8], OTHERS = 7; // the seventh is grey
