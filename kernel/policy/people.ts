/**
 * Who may decide: a gate names roles and people, and excludes those who have a part in what is asked for. It is looked at when somebody
 * votes, with the gate as it was when the question was asked: a policy that was changed since makes nothing easier.
 */
import type { Queryable } from '../store/index.ts';
import type { Gate } from './parse.ts';

/** A person with a session. Made from nothing else: no key, no token of a sandbox and no agent is one. */
export interface Voter {
  /** Unique, in lower case. */
  readonly name: string;
  readonly role: 'viewer' | 'operator' | 'approver' | 'admin';
  /** Besides, as gates name them. */
  readonly roles: readonly string[];
  /** When they last proved who they are: Unix milliseconds. */
  readonly provenAt: number;
}

/** Names of users, by the part that they have. */
export interface Involved {
  readonly requester: readonly string[];
  readonly run_owner: readonly string[];
  readonly trigger_actor: readonly string[];
  readonly policy_author: readonly string[];
}

/** What is written down when a question is asked: a turn ends, and its words are another turn's by the time of the vote. */
export interface Beginning {
  readonly words: readonly string[];
  readonly author: string | null;
  /** Runs that it comes from; who started them is looked up at the vote. */
  readonly runs: readonly string[];
}

/** Nobody named: these. */
const USUAL = ['role:approver', 'role:admin'];

/** @param escalated the time of the escalation has come */
export function approversOf({ approvers, escalate, onExpiry }: Gate, escalated: 'escalated' | 'as asked'): readonly string[] {
  const named = approvers.length === 0 ? USUAL : approvers;
  if (escalated === 'as asked') return named;
  return [...new Set([...named, ...(escalate?.to ?? (onExpiry === 'escalate' ? ['role:admin'] : []))])];
}

/** Undefined: this person may vote. Else why not. */
export function whyNot(voter: Voter, gate: Gate, escalated: 'escalated' | 'as asked', involved: Involved): string | undefined {
  const asked = approversOf(gate, escalated);
  if (!asked.some((each) => isNamed(voter, each))) return `${voter.name} is not among those whom the gate asks: ${asked.join(', ')}`;
  for (const part of gate.exclude) {
    if (part.includes(':') ? isNamed(voter, part) : (involved[part as keyof Involved] ?? []).includes(voter.name))
      return `${voter.name} may not decide on this: the gate excludes ${part.includes(':') ? part : `the ${part.replace('_', ' ')}`}`;
  }
  return undefined;
}

function isNamed({ name, role, roles }: Voter, by: string): boolean {
  const at = by.indexOf(':');
  const [kind, what] = [by.slice(0, at), by.slice(at + 1)];
  return kind === 'user' ? what.toLowerCase() === name : role === what || roles.includes(what);
}

/** Of a principal or an actor: the name of the user; undefined when it is nobody's. */
export function userOf(actor: string | null): string | undefined {
  return actor?.startsWith('user:') === true ? actor.slice('user:'.length).toLowerCase() : undefined;
}

/** As it is now: of a turn that runs, who asked for it and who has a word in it. */
export async function beginningOf(
  on: Queryable,
  {
    principal,
    threadKey,
    runId,
    user,
    author,
  }: {
    readonly principal: string;
    readonly threadKey?: string | undefined;
    readonly runId?: string | undefined;
    readonly user?: string | undefined;
    /** Of a text that is not in force yet. */
    readonly author?: string | undefined;
  },
): Promise<Beginning> {
  const { rows: authors } = await on.query<{ author: string }>(`select author from policy_versions where state = 'active'`);
  const { rows: turns } =
    threadKey === undefined
      ? { rows: [] }
      : await on.query<{ users: readonly (string | null)[]; asked_by: string | null }>(
          `select array(
             select e.user_id
             union select m.user_id from agent_message_requests m
               where m.thread_key = e.thread_key and m.delivered_execution_id = e.execution_id
             union select s.user_id from agent_execution_signals s
               where s.thread_key = e.thread_key and s.execution_id = e.execution_id and s.kind = 'steer') as users, e.asked_by
           from agent_execution_requests e where e.thread_key = $1 and e.status in ('running', 'cancel_requested')`,
          [threadKey],
        );
  const words = [userOf(principal), user, ...turns.flatMap(({ users }) => users)].filter((each) => each !== undefined && each !== null);
  const runs = [runId, ...turns.map(({ asked_by }) => asked_by)].filter((each) => each !== undefined && each !== null);
  const said = words.map((each) => userOf(each) ?? each.toLowerCase());
  return {
    // as they are linked now, too: whoever unlinks an account has asked by it all the same
    words: [...new Set([...said, ...(await linkedTo(on, said))])],
    author: userOf(author ?? authors[0]?.author ?? null) ?? null,
    runs: [...new Set(runs)],
  };
}

export async function involvedIn(on: Queryable, { words, author, runs }: Beginning): Promise<Involved> {
  const people = runs.length === 0 ? [] : await peopleOf(on, runs);
  const owners = people.map(({ name }) => name);
  const said = [...words, ...(await linkedTo(on, words))];
  return {
    // who started a run, or had it done again, has asked for what it does
    requester: [...new Set([...said, ...owners])],
    run_owner: [...new Set([...owners, ...(people.some(({ started }) => started) ? [] : said)])],
    trigger_actor: [...new Set([...owners, ...said])],
    policy_author: author === null ? [] : [author],
  };
}

/** Users to whom these accounts in chats are linked, or were: an account that is unlinked for the vote has asked all the same. */
async function linkedTo(on: Queryable, words: readonly string[]): Promise<readonly string[]> {
  // most of the time nobody is in a chat, and nothing is asked
  const accounts = words.filter((word) => word.split(':').length === 3);
  if (accounts.length === 0) return [];
  const { rows } = await on.query<{ name: string }>(
    `select u.name from (
       select user_id from chat_links where lower(platform || ':' || team || ':' || external_user) = any($1::text[])
       union select user_id from chat_former_links where lower(platform || ':' || team || ':' || external_user) = any($1::text[])) l
     join users u using (user_id) order by 1`,
    [accounts],
  );
  return rows.map(({ name }) => name);
}

/** Who started them, and who has a part in them otherwise: of the runs and of all that they come from. */
async function peopleOf(on: Queryable, runs: readonly string[]): Promise<readonly { readonly name: string; readonly started: boolean }[]> {
  const { rows } = await on.query<{ name: string; started: boolean }>(
    'select substr(actor, 6) as name, started from people_of_runs($1::uuid[]) order by actor',
    [runs],
  );
  return rows;
}
