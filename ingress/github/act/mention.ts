/** What of a comment people see and mean: mentions in code, in quotes and in hidden comments mention nobody. */
import { mapProse } from '../../chat/index.ts';

/** Without what GitHub does not show: comments of HTML, where templates and attackers write what nobody reads. */
export function visible(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replaceAll(
      /(```[\s\S]*?(?:```|$)|~~~[\s\S]*?(?:~~~|$)|`[^`\n]+`)|<!--[\s\S]*?(?:-->|$)/g,
      (_, code: string | undefined) => code ?? '',
    );
}

/** @param name a login, without the @ */
export function mentions(text: string, name: string): boolean {
  let found = false;
  mapProse(visible(text), (prose) => {
    if (mentionOf(name).test(prose)) found = true;
    return prose;
  });
  return found;
}

/** Whether somebody else is meant by it. */
export function mentionsOthers(text: string, name: string): boolean {
  let found = false;
  mapProse(visible(text), (prose) => {
    found ||= ANYBODY.test(prose.replaceAll(mentionOf(name, 'g'), ''));
    return prose;
  });
  return found;
}

/** What is left to be read when the mention is taken off. */
export function withoutMention(text: string, name: string): string {
  return mapProse(visible(text), (prose) => prose.replaceAll(mentionOf(name, 'g'), '').replaceAll(/^[ \t]*[,:][ \t]*/gm, '')).trim();
}

function mentionOf(name: string, flags = ''): RegExp {
  return new RegExp(`${BEFORE}@${name.replaceAll(/\W/g, '\\$&')}(?:\\[bot\\])?${AFTER}`, `i${flags}`);
}

/** Not of an address of mail, a path, or a longer name; and `@acme/team` is a team. */
const BEFORE = '(?<![\\w@/.`-])';
const AFTER = '(?![\\w/@-])';
const ANYBODY = new RegExp(`${BEFORE}@[a-z\\d](?:[a-z\\d-]*[a-z\\d])?`, 'i');
