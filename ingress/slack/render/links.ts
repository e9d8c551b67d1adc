/** Links that agents write: where they may lead, and that what is shown of one is not another one. */
import { LIMITS } from './limits.ts';

/** The address if it may be followed, and nothing if not. */
export function safeUrl(url: string): string | undefined {
  // a browser would pass over these where a parser does not
  if (/[\p{Cc}\p{Cf}\s]/u.test(url) || url.length > LIMITS.url) return undefined;
  // `https:host` without slashes is an address to a browser, and looks like none
  return /^(?:https?:\/\/|mailto:)/i.test(url) && URL.canParse(url) ? url : undefined;
}

/** What is shown of a link: its label, or its address where the label is none, or reads as another address. */
export function safeLabel(label: string, url: string): string {
  const plain = label.replaceAll(/[\p{Cf}\s]+/gu, ' ').trim();
  if (plain === '' || TURNS_ROUND.test(label)) return url;
  const claimed = plain.replaceAll(' ', '').match(LOOKS_LIKE_ADDRESS);
  return claimed === null || isSameAddress(claimed[0], url) ? label : url;
}

/** Characters that let text run the other way, so that `moc.elpmaxe` reads as a host. */
const TURNS_ROUND = /[\u202a-\u202e\u2066-\u2069]/;
/** With a scheme anywhere in it, or a whole label that is a host with or without a path, or an address of mail. */
const LOOKS_LIKE_ADDRESS =
  /[a-z][a-z\d+.-]*:\/\/[^\s)\]]+|^(?:mailto:)?[^\s@/]+@[^\s@/]+\.[^\s@/]+$|^[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)*\.\p{L}{2,}(?:[:/?#…]\S*|\.\.\.)?$/iu;

function isSameAddress(claimed: string, url: string): boolean {
  const wanted = bare(claimed);
  const real = bare(url);
  if (wanted === real || isFile(wanted, real)) return true;
  // a path that was cut short: the host must be whole
  const cut = /^(.*?)(?:…|\.\.\.)$/.exec(wanted)?.[1];
  return cut !== undefined && cut.includes('/') && real.startsWith(cut);
}

/** Names of files read as hosts. Of those whose ending is that of a country too, the address must end with the file. */
function isFile(name: string, real: string): boolean {
  if (name.includes('/') || !FILE.test(name)) return false;
  return !ALSO_A_COUNTRY.test(name) || (real.split(/[?#]/)[0] ?? '').toLowerCase().endsWith(`/${name.toLowerCase()}`);
}

const FILE = /^[\w.-]+\.(?:[cm]?[jt]sx?|json|html?|css|ya?ml|toml|txt|csv|sql|go|lock|pdf|png|jpe?g|svg|java|cpp|hpp|md|py|rs|sh)$/i;
const ALSO_A_COUNTRY = /\.(?:md|py|rs|sh)$/i;

function bare(address: string): string {
  const text = address.replace(/^(?:https?:\/\/|mailto:)/i, '').replace(/^www\./i, '');
  const host = /^[^/?#]*/.exec(text)?.[0] ?? '';
  return (host.toLowerCase() + text.slice(host.length)).replace(/\/$/, '');
}
