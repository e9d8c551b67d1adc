/** What is to be done about something that was said: decided by what it is, who said it, and the operator's rules. Nothing is called. */
import { type Flagged, readControl, readFlags, type Control } from '../../chat/index.ts';
import type { Self } from '../context.ts';
import type { Heard } from '../heard.ts';
import type { GitHubRules } from '../settings.ts';
import { mentions, mentionsOthers, withoutMention } from './mention.ts';

export type Verdict =
  | { readonly kind: 'ignore'; readonly why: Why }
  /** Somebody has asked who may not: they are shown that it was seen. */
  | { readonly kind: 'refuse' }
  | { readonly kind: 'control'; readonly control: Control }
  | { readonly kind: 'ask'; readonly asked: Flagged }
  /** What was asked by it is taken back. */
  | { readonly kind: 'withdraw' };

export type Why =
  | 'own'
  | 'bot'
  | 'repository'
  | 'not mentioned'
  | 'mentioned before'
  | 'edited by another'
  | 'thread unknown'
  | 'nothing asked';

/** @param known whether the platform has its thread; asked only where it matters */
export async function decide(heard: Heard, rules: GitHubRules, self: Self, known: () => Promise<boolean>): Promise<Verdict> {
  const early = decideEarly(heard, rules, self);
  if (early !== undefined) return early;
  const isMentioned = mentions(heard.text, self.name);
  if (!isMentioned) {
    if (rules.replies !== 'all' || heard.action !== 'said' || heard.kind === 'body') return ignore('not mentioned');
    if (mentionsOthers(heard.text, self.name)) return ignore('not mentioned');
    // strangers are not told no where nobody has called
    if (!mayAsk(heard, rules)) return ignore('not mentioned');
    if (!(await known())) return ignore('thread unknown');
  }
  if (!mayAsk(heard, rules)) return { kind: 'refuse' };
  const text = withoutMention(heard.text, self.name);
  const control = readControl(text);
  // of a command that was edited in nobody knows whether it is still meant
  if (control !== undefined) return heard.action === 'said' ? { kind: 'control', control } : ignore('nothing asked');
  // an issue may be all question, with a mention at its end
  if (text === '' && heard.kind !== 'body') return { kind: 'control', control: { kind: 'help' } };
  return { kind: 'ask', asked: readFlags(text) };
}

/** Whatever can be known without reading what was said: it is asked before anything is stored, too. */
export function decideEarly(heard: Heard, rules: GitHubRules, self: Self): Verdict | undefined {
  if (isSame(heard.author.login, self.login) || isSame(heard.sender, self.login)) return ignore('own');
  if (!isAllowedRepository(heard.repo, rules)) return ignore('repository');
  if (heard.author.isBot && !rules.bots.some((bot) => isSame(bot, heard.author.login))) return ignore('bot');
  if (heard.action === 'deleted')
    return mentions(heard.text, self.name) || rules.replies === 'all' ? { kind: 'withdraw' } : ignore('not mentioned');
  if (heard.action === 'edited') {
    // who edits another's words would speak with their rights
    if (!isSame(heard.author.login, heard.sender)) return ignore('edited by another');
    if (heard.before !== null && mentions(heard.before, self.name)) return ignore('mentioned before');
  }
  if (rules.replies !== 'all' && !mentions(heard.text, self.name)) return ignore('not mentioned');
  return undefined;
}

function mayAsk({ author }: Heard, rules: GitHubRules): boolean {
  // a bot that is listed was chosen by the operator
  return author.isBot || rules.associations.some((each) => each === author.association);
}

export function isAllowedRepository(repo: string, rules: GitHubRules): boolean {
  if (rules.repositories === undefined) return true;
  const [owner] = repo.split('/');
  return rules.repositories.some((each) => isSame(each, repo) || isSame(each, `${owner}/*`));
}

const ignore = (why: Why): Verdict => ({ kind: 'ignore', why });
const isSame = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
