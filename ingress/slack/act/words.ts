/** Slack's markup as people read it: names in place of ids, addresses as they are, and no entities. */
import { unescapeSlack } from '../render/text.ts';

export interface Names {
  /** Of a user id. */
  readonly people: ReadonlyMap<string, string>;
  /** Of a channel id, without the #. */
  readonly channels: ReadonlyMap<string, string>;
}

/** Anything between angle brackets; a bracket that was typed is an entity. */
const TOKEN = /<([^<>\n]{1,3000})>/g;

export function toWords(markup: string, names: Names): string {
  return unescapeSlack(
    markup.replaceAll(TOKEN, (_, token: string) => {
      const bar = token.indexOf('|');
      const target = bar < 0 ? token : token.slice(0, bar);
      const label = bar < 0 ? '' : token.slice(bar + 1);
      if (target.startsWith('@')) return `@${names.people.get(target.slice(1)) ?? (label === '' ? target.slice(1) : label)}`;
      if (target.startsWith('#')) return `#${label === '' ? (names.channels.get(target.slice(1)) ?? target.slice(1)) : label}`;
      if (target.startsWith('!')) return wordsOfCommand(target.slice(1), label);
      return wordsOfLink(target, label);
    }),
  );
}

function wordsOfCommand(command: string, label: string): string {
  if (label !== '') return label;
  return command.startsWith('subteam^') ? '@a group' : `@${command.split('^')[0]}`;
}

function wordsOfLink(target: string, label: string): string {
  const address = target.replace(/^(?:mailto|tel):/, '');
  const isNamedSo = label === '' || label === address || `${stripScheme(address)}/`.startsWith(stripScheme(label));
  return isNamedSo ? address : `${label} (${address})`;
}

const stripScheme = (address: string): string => address.replace(/^https?:\/\//, '');

/** Ids of whom and what a text names, to be looked up. */
export function idsIn(markup: string): { readonly people: readonly string[]; readonly channels: readonly string[] } {
  const tokens = [...markup.matchAll(TOKEN)].map(([, token = '']) => token);
  const those = (sigil: string, isNeeded: (token: string) => boolean): string[] => [
    ...new Set(
      tokens.flatMap((token) => {
        const id = token.split('|')[0] ?? '';
        return id.startsWith(sigil) && isNeeded(token) && /^[A-Z][A-Z0-9]{1,30}$/.test(id.slice(1)) ? [id.slice(1)] : [];
      }),
    ),
  ];
  // a channel's name mostly comes along
  return { people: those('@', () => true), channels: those('#', (token) => (token.split('|')[1] ?? '') === '') };
}

export interface Named {
  readonly us: boolean;
  /** People, groups, or everybody. */
  readonly others: boolean;
}

export function whoIsNamed(markup: string, self: string): Named {
  const targets = [...markup.matchAll(TOKEN)].map(([, token = '']) => token.split('|')[0] ?? '');
  return {
    us: targets.includes(`@${self}`),
    others: targets.some(
      (target) => (target.startsWith('@') && target !== `@${self}`) || /^!(?:subteam\^|here$|channel$|everyone$)/.test(target),
    ),
  };
}

/** Without its mentions of us: whoever is spoken to knows. */
export function stripMention(markup: string, self: string): string {
  const ours = new RegExp(`<@${self}(?:\\|[^<>]*)?>[,:]?`, 'g');
  return markup.replaceAll(new RegExp(`[ \\t]*${ours.source}(?=\\s|$)|${ours.source}[ \\t]*`, 'g'), '').trim();
}
