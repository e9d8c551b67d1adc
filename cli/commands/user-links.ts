/** Accounts in chats: whose they are. */
import { createInterface } from 'node:readline/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChatLink, ChatPlatform, Identity, LinkCode, PendingLink } from '@centaur/sdk';
import { CHAT_PLATFORMS } from '@centaur/sdk';
import { Argument, type Command } from 'commander';
import { type Api, connect } from '../api.ts';
import { examples, withJson } from '../arguments.ts';
import { UsageError } from '../exit.ts';
import { clock, note, print, printable, printJson, relative, table } from '../output.ts';

interface Json {
  readonly json?: true;
}

/** Of services that have one team alone. */
const TEAMS: Readonly<Partial<Record<ChatPlatform, string>>> = { github: 'github.com' };
const LOOK_MS = 1_000;
const platforms = () => new Argument('<platform>', 'the service').choices(CHAT_PLATFORMS);

export function addUserLinks(users: Command): void {
  const link = users
    .command('link')
    .description(
      'Link an account in a chat to you: prints a code, to be typed to the bot there, and asks whether the account that has brought it is yours. An admin links an account to anybody.',
    )
    .addArgument(platforms())
    .argument('[account]', 'for admins: the service’s id of the account, such as U012AB3CD; the login at GitHub')
    .option('--user <name>', 'for admins: whose it is')
    .option('--confirm <account>', 'say that this account, which has brought a code of yours, is yours')
    .option('--team <id>', 'the team that the account is in, such as T012AB3CD (default github.com for GitHub)')
    .action(
      async (platform: ChatPlatform, account: string | undefined, options: Json & { user?: string; team?: string; confirm?: string }) => {
        if (options.confirm !== undefined) {
          if (account !== undefined || options.user !== undefined)
            throw new UsageError('--confirm is for an account of your own: leave out the account and --user');
          return confirm(identityOf(platform, options.confirm, options.team), options);
        }
        if (account === undefined && options.user === undefined && options.team === undefined) return linkOwn(platform, options);
        if (account === undefined || options.user === undefined)
          throw new UsageError('name both the account and --user to link it as an admin, or neither to get a code for yourself');
        const made = await connect().chats.linkAsAdmin({ ...identityOf(platform, account, options.team), user: options.user });
        if (options.json) printJson(made);
        else print(`${printable(account)} at ${platform} is ${made.user}`);
      },
    );
  examples(
    withJson(link),
    'centaur users link slack',
    'centaur users link slack --confirm U012AB3CD --team T012AB3CD',
    'centaur users link github octocat --user ann',
  );

  const unlink = users
    .command('unlink')
    .description('Unlink an account in a chat: yours, or as an admin anybody’s.')
    .addArgument(platforms())
    .argument('<account>', 'the service’s id of the account')
    .option('--team <id>', 'the team that the account is in (default github.com for GitHub)')
    .action(async (platform: ChatPlatform, account: string, options: Json & { team?: string }) => {
      const gone = await connect().chats.unlink(identityOf(platform, account, options.team));
      if (options.json) printJson(gone);
      else print(`${printable(account)} at ${platform} is not ${gone.user} any more`);
    });
  examples(withJson(unlink), 'centaur users unlink slack U012AB3CD --team T012AB3CD', 'centaur users unlink github octocat');

  const links = users.command('links').description('List your accounts in chats; an admin sees everybody’s.').action(list);
  examples(withJson(links), 'centaur users links');
}

/** Prints a code; where somebody sits at a terminal, waits for the account that brings it, and asks whether it is theirs. */
async function linkOwn(platform: ChatPlatform, options: Json): Promise<void> {
  const { chats } = connect();
  const made = await chats.linkCode({ platform });
  if (options.json) return printJson(made);
  note(`Say this to the bot at ${platform} until ${clock(made.expires_at)}. Then confirm the account that has said it.`);
  print(`link ${made.code}`);
  if (!process.stdin.isTTY || !process.stdout.isTTY) return note(`centaur users link ${platform} --confirm ACCOUNT --team TEAM`);
  const brought = await waitForAccount(chats, platform, made);
  if (brought === undefined) throw new UsageError('nobody has said the code in time');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question(`${described(brought)} wants to be you: link? [y/N] `).finally(() => terminal.close());
  if (!/^y(es)?$/i.test(answer.trim()))
    return note('It is not linked. If it is not yours, tell an administrator: somebody else has your code.');
  await confirm({ platform, team: brought.team, externalUser: brought.external_user }, options);
}

/** By its id, which nobody chooses; what it is called is up to whoever has it. */
function described({ platform, team, external_user: account, display_name: name }: PendingLink): string {
  return `${printable(account)} of ${printable(team)} at ${platform}${name === null ? '' : ` (calls itself ${printable(name)})`}`;
}

async function waitForAccount(chats: Api['chats'], platform: ChatPlatform, made: LinkCode): Promise<PendingLink | undefined> {
  while (Date.now() < Date.parse(made.expires_at)) {
    const brought = (await chats.pendingLinks()).items.find((each) => each.platform === platform);
    if (brought !== undefined) return brought;
    await sleep(LOOK_MS);
  }
  return undefined;
}

async function confirm(identity: Identity, options: Json): Promise<void> {
  const made = await connect().chats.confirmLink(identity);
  if (options.json) printJson(made);
  else print(`${printable(made.external_user)} at ${made.platform} is ${made.user}`);
}

function identityOf(platform: ChatPlatform, account: string, given: string | undefined): Identity {
  const team = given ?? TEAMS[platform];
  if (team === undefined) throw new UsageError(`--team: say which team of ${platform} the account is in`);
  return { platform, team, externalUser: account };
}

async function list(options: Json): Promise<void> {
  const page = await connect().chats.listLinks();
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no accounts in chats are linked: "centaur users link slack" links yours');
  const rows = page.items.map((each: ChatLink) => [
    each.platform,
    printable(each.team),
    printable(each.external_user),
    printable(each.display_name ?? '-'),
    each.user,
    each.how === 'code' ? 'code' : each.linked_by,
    relative(each.created_at),
  ]);
  print(table(['PLATFORM', 'TEAM', 'ACCOUNT', 'CALLED', 'USER', 'BY', 'SINCE'], rows));
}
