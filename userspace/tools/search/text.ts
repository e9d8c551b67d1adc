import { cut } from '../_shared/results.ts';

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", '#39': "'", '#x27': "'", nbsp: ' ' };
const MOST_CHARACTERS = 1500;
/** With what is taken out. */
const LOOKED_AT = 10_000;

/** Services mark what was found, and write as for a page. */
export function plainText(html: string): string {
  const text = html
    .slice(0, LOOKED_AT)
    // each character is looked at once, also where tags are opened and none is closed
    .replaceAll(/<\/?[a-z][^<>]*>/gi, '')
    .replaceAll(/&(#?\w+);/g, (whole, name: string) => ENTITIES[name.toLowerCase()] ?? whole)
    .replaceAll(/\s+/g, ' ')
    .trim();
  return cut(text, MOST_CHARACTERS);
}
