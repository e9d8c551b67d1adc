/** The ways in which a service may echo a secret: each as the bytes that would then appear. */

export interface Variant {
  readonly name: string;
  readonly bytes: Buffer;
}

/**
 * All forms of a value that differ. Base64 is taken at each of the three alignments that it may have inside other
 * data, without the characters at its ends that also depend on its neighbours.
 */
export function variantsOf(value: Buffer): Variant[] {
  const text = value.toString('utf8');
  const isText = Buffer.from(text, 'utf8').equals(value);
  const hex = value.toString('hex');
  const percent = [...value].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
  const forms: [string, string | Buffer][] = [
    ['raw', value],
    ['hex', hex],
    ['hex', hex.toUpperCase()],
    ['percent', percent],
    ['percent', percent.toUpperCase()],
  ];
  for (const alignment of [0, 1, 2]) {
    const base64 = base64At(value, alignment);
    forms.push(['base64', base64], ['base64url', base64.replaceAll('+', '-').replaceAll('/', '_')]);
  }
  if (isText) {
    const component = encodeURIComponent(text).replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
    const json = JSON.stringify(text).slice(1, -1);
    forms.push(
      ['percent', encodeURIComponent(text)],
      ['percent', lowerEscapes(encodeURIComponent(text))],
      ['percent', component],
      ['percent', lowerEscapes(component)],
      ['percent', encodeURI(text)],
      ['percent', lowerEscapes(encodeURI(text))],
      ['form', component.replaceAll('%20', '+')],
      ['form', lowerEscapes(component.replaceAll('%20', '+'))],
      ['form', new URLSearchParams({ v: text }).toString().slice(2)],
      ['json', json],
      ['json', json.replaceAll('/', '\\/')],
      ['json', escapeUnicode(json, /[^\x20-\x7e]/g)],
      ['json', escapeUnicode(json.replaceAll('/', '\\/'), /[^\x20-\x7e]/g)],
      ['json', escapeUnicode(json, /[<>&'=+]|[^\x20-\x7e]/g)],
      ['json', escapeUnicode(json, /[<>&]|[^\x20-\x7e]/g)],
      ['html', html(text, '&quot;', '&#39;')],
      ['html', html(text, '&#34;', '&#39;')],
      ['html', html(text, '&quot;', '&#x27;')],
      ['html', html(text, '"', "'")],
    );
  }
  const seen = new Map<string, Variant>();
  for (const [name, form] of forms) {
    const bytes = typeof form === 'string' ? Buffer.from(form, 'utf8') : form;
    const id = bytes.toString('latin1');
    if (!seen.has(id)) seen.set(id, { name, bytes });
  }
  return [...seen.values()];
}

/** The characters of a base64 text that tell of nothing but the value, when `alignment` bytes come before it. */
function base64At(value: Buffer, alignment: number): string {
  const padded = Buffer.concat([Buffer.alloc(alignment), value]);
  const whole = padded.toString('base64').replaceAll('=', '');
  const first = Math.ceil((alignment * 8) / 6);
  const last = Math.floor((padded.length * 8) / 6);
  return whole.slice(first, last);
}

function lowerEscapes(text: string): string {
  return text.replaceAll(/%[0-9A-F]{2}/g, (escape) => escape.toLowerCase());
}

function escapeUnicode(text: string, characters: RegExp): string {
  return text.replaceAll(characters, (c) =>
    [...Array(c.length).keys()].map((i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  );
}

function html(text: string, double: string, single: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', double).replaceAll("'", single);
}
