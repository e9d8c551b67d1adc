/**
 * Accounts at other services, as people in Slack hear of them: what to do, and never the doing. Whoever opens the address of an attempt decides whose
 * account it is, and an attempt is begun by who may write secrets: so neither begins here, and no key of a bot may begin one.
 */

/** In Slack's markup: what follows a code. Only whoever was given it can say that the account is theirs. */
export function confirmText({ team, externalUser }: { readonly team: string; readonly externalUser: string }): string {
  return `Nearly there: confirm that \`${externalUser}\` is you where you asked for the code, or with \`centaur users link slack --confirm ${externalUser} --team ${team}\`.`;
}

/** In Slack's markup: how somebody's own account at a service is connected, so that it is used in their turns. @param user null: linked to nobody */
export function connectText(app: string, user: string | null): string {
  if (!/^[a-z][a-z0-9-]{0,63}$/.test(app)) return 'Which service? Such as `/centaur connect google`.';
  if (user === null)
    return 'First say who you are: `centaur users link slack` on your machine shows a code; then `/centaur link <code>`. An account is connected for a user.';
  return [
    'Your own account is connected outside of Slack, by an address that only you open. Somebody who may write secrets runs',
    `\`\`\`centaur accounts connect ${app} --user ${user}\`\`\``,
    'and you open the address that it prints. From then on it is used in turns that are yours alone; `centaur accounts ls` shows it.',
  ].join('\n');
}
