/**
 * Bytes to lines. Lines end with \n and nothing else: pi writes U+2028 inside its strings, which other splitters take for
 * an end. A line longer than the limit is not kept in memory; its beginning is.
 */
export interface Line {
  readonly text: string;
  /** The offset in the stream of the first byte after the line's end: where a reader goes on that has seen this line. */
  readonly end: number;
  /** Bytes of the line that were left out of `text`; 0 for a whole line. */
  readonly dropped: number;
}

export interface LineSplitter {
  push(chunk: Uint8Array): Line[];
  /** What came after the last line's end: the stream is over. */
  flush(): Line[];
}

const LONGEST_LINE = 8 * 1024 * 1024;
/** Of a line that is too long, what is kept: enough to see what it was. */
const HEAD = 4096;
const NEWLINE = 0x0a;

/** `start` is the offset of the first byte that is going to be pushed; `maxBytes` counts without the line's end. */
export function createLineSplitter({ maxBytes = LONGEST_LINE, start = 0 } = {}): LineSplitter {
  const head = Math.min(HEAD, maxBytes);
  let pieces: Buffer[] = [];
  let kept = 0;
  let dropped = 0;
  let offset = start;

  const keep = (piece: Uint8Array): void => {
    if (dropped > 0) {
      dropped += piece.length;
      return;
    }
    // a copy: a piece of a chunk would hold on to the chunk
    pieces.push(Buffer.from(piece));
    kept += piece.length;
    if (kept <= maxBytes) return;
    const beginning = Buffer.concat(pieces, kept).subarray(0, head);
    dropped = kept - head;
    kept = head;
    pieces = [Buffer.from(beginning)];
  };

  const finish = (): Line => {
    const bytes = Buffer.concat(pieces, kept);
    const text = dropped > 0 ? wholeCharacters(bytes) : bytes.toString('utf8').replace(/\r$/, '');
    const line = { text, end: offset, dropped };
    pieces = [];
    kept = 0;
    dropped = 0;
    return line;
  };

  return {
    push(chunk) {
      const lines: Line[] = [];
      let from = 0;
      for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
        keep(chunk.subarray(from, at));
        offset += at + 1 - from;
        from = at + 1;
        lines.push(finish());
      }
      if (from < chunk.length) {
        keep(chunk.subarray(from));
        offset += chunk.length - from;
      }
      return lines.filter(({ text }) => text.trim() !== '');
    },
    flush() {
      return kept === 0 ? [] : [finish()].filter(({ text }) => text.trim() !== '');
    },
  };
}

/** Without the character that the cut went through. */
function wholeCharacters(bytes: Buffer): string {
  return bytes.toString('utf8').replace(/\uFFFD$/, '');
}
