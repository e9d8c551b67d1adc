/** Messages as Gmail has them: written as RFC 5322 and MIME want it, read from the parts that Gmail has taken apart. */
export interface Letter {
  readonly to: readonly string[];
  readonly cc?: readonly string[] | undefined;
  readonly bcc?: readonly string[] | undefined;
  readonly subject: string;
  readonly text: string;
  /** The Message-ID that it answers, and those that one answered. */
  readonly inReplyTo?: string | undefined;
  readonly references?: string | undefined;
}

/** base64url, as the API takes it. Gmail adds sender, date and id. */
export function writeLetter({ to, cc, bcc, subject, text, inReplyTo, references }: Letter): string {
  const lines = [
    `To: ${to.join(', ')}`,
    ...(cc?.length ? [`Cc: ${cc.join(', ')}`] : []),
    ...(bcc?.length ? [`Bcc: ${bcc.join(', ')}`] : []),
    `Subject: ${encodeWords(subject)}`,
    ...(inReplyTo === undefined ? [] : [`In-Reply-To: ${oneLine(inReplyTo)}`]),
    ...(references === undefined ? [] : [`References: ${oneLine(references)}`]),
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=UTF-8',
    'Content-Transfer-Encoding: base64',
    '',
    ...(Buffer.from(text.replaceAll(/\r?\n/g, '\r\n'))
      .toString('base64')
      .match(/.{1,76}/g) ?? []),
  ];
  return Buffer.from(lines.join('\r\n')).toString('base64url');
}

/** RFC 2047: a word has 75 characters at most, and no character is cut in two. */
function encodeWords(text: string): string {
  const plain = oneLine(text);
  if (/^[\x20-\x7e]*$/.test(plain) && plain.length <= 60) return plain;
  const words: string[] = [];
  let word = '';
  for (const character of plain) {
    if (Buffer.byteLength(word + character) > 42) {
      words.push(word);
      word = '';
    }
    word += character;
  }
  return [...words, word].map((each) => `=?UTF-8?B?${Buffer.from(each).toString('base64')}?=`).join('\r\n ');
}

/** A line break in a header would begin another one. */
function oneLine(text: string): string {
  return text.replaceAll(/[\r\n\0]+/g, ' ');
}

export interface Part {
  readonly mimeType?: string;
  readonly filename?: string;
  readonly headers?: readonly { readonly name: string; readonly value: string }[];
  readonly body?: { readonly size?: number; readonly data?: string; readonly attachmentId?: string };
  readonly parts?: readonly Part[];
}

export function header(part: Part | undefined, name: string): string | undefined {
  return part?.headers?.find((each) => each.name.toLowerCase() === name)?.value;
}

/** The plain text; of a message that is HTML only, what a reader would see of it. */
export function textOf(part: Part): string {
  const all = flat(part).filter(({ filename = '' }) => filename === '');
  const plain = all.filter(({ mimeType }) => mimeType === 'text/plain').map(decoded);
  if (plain.some((text) => text.trim() !== '')) return plain.join('\n').replaceAll('\r\n', '\n');
  return all
    .filter(({ mimeType }) => mimeType === 'text/html')
    .map((each) => fromHtml(decoded(each)))
    .join('\n');
}

export interface Enclosed {
  readonly name: string;
  readonly mime_type: string;
  readonly size: number;
  readonly attachment: string;
}

export function enclosedIn(part: Part): readonly Enclosed[] {
  return flat(part).flatMap(({ filename = '', mimeType = 'application/octet-stream', body }) =>
    filename === '' || body?.attachmentId === undefined
      ? []
      : [{ name: filename, mime_type: mimeType, size: body.size ?? 0, attachment: body.attachmentId }],
  );
}

function flat(part: Part): readonly Part[] {
  return [part, ...(part.parts ?? []).flatMap(flat)];
}

function decoded({ body }: Part): string {
  return Buffer.from(body?.data ?? '', 'base64url').toString();
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: ' ' };

/** Anybody may have written it: its time is proportional to its length. */
function fromHtml(html: string): string {
  return withoutUnseen(html)
    .replaceAll(/<(?:br|\/p|\/div|\/tr|\/li|\/h\d)\b[^<>]*>/gi, '\n')
    .replaceAll(/<[^<>]*>/g, '')
    .replaceAll(/&(#?\w{1,10});/g, (whole, name: string) => ENTITIES[name.toLowerCase()] ?? numbered(name) ?? whole)
    .replaceAll(/[ \t]+/g, ' ')
    .replaceAll(/ ?\n[ \n]*\n/g, '\n\n')
    .trim();
}

/** Without the elements whose content nobody sees; one that does not end goes on to the end. */
function withoutUnseen(html: string): string {
  const kept: string[] = [];
  let from = 0;
  for (const { 1: name = '', index } of html.matchAll(/<(style|script|head)\b/gi)) {
    if (index < from) continue;
    kept.push(html.slice(from, index));
    const end = new RegExp(`</${name}\\b[^<>]*>`, 'gi');
    end.lastIndex = index;
    if (end.exec(html) === null) return kept.join('');
    from = end.lastIndex;
  }
  return kept.join('') + html.slice(from);
}

function numbered(name: string): string | undefined {
  const [, hex, decimal] = /^#(?:x([0-9a-f]+)|(\d+))$/i.exec(name) ?? [];
  const code = hex === undefined ? Number(decimal ?? Number.NaN) : Number.parseInt(hex, 16);
  return code > 31 && code < 0x110000 ? String.fromCodePoint(code) : undefined;
}
