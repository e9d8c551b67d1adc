/** By which names a person has said things: their own, and those of their accounts in chats. */
import type { Queryable } from '../store/index.ts';

/**
 * Theirs first. Of accounts that they had once, those that are nobody else's now: what another says by one is not theirs. Read before
 * anything is deleted; links are deleted last, so whoever goes on after a crash finds the same.
 */
export async function namesOf(on: Queryable, person: string): Promise<readonly [string, ...string[]]> {
  const { rows } = await on.query<{ account: string }>(
    `select l.platform || ':' || l.team || ':' || l.external_user as account from chat_links l join users u using (user_id) where u.name = $1
     union
     select l.platform || ':' || l.team || ':' || l.external_user from chat_former_links l join users u using (user_id)
     where u.name = $1 and not exists (select from chat_links o where (o.platform, o.team, o.external_user) = (l.platform, l.team, l.external_user)
       and o.user_id <> l.user_id) order by 1`,
    [person],
  );
  return [person, ...rows.map(({ account }) => account)];
}

/** As calls, leases and grants have them: by an account that nobody has linked, tools are called as its user. */
export function principalsOf([person, ...accounts]: readonly [string, ...string[]]): readonly string[] {
  return [`user:${person}`, ...accounts.flatMap((account) => [account, `user:${account}`])];
}
