/** People, for admins. */
import { type Command, Option } from 'commander';
import type { UserRole, UserView } from '@centaur/kernel/users';
import { connect, type UserWithPassword } from '../api.ts';
import { examples, withJson } from '../arguments.ts';
import { UsageError } from '../exit.ts';
import { addUserLinks } from './user-links.ts';
import { clock, fields, note, paint, print, printable, printJson, relative, table } from '../output.ts';

/** Spelt here, so that no command loads the room to know them. */
const ROLES: readonly UserRole[] = ['viewer', 'operator', 'approver', 'admin'];

const MEANING = `
Roles:
  viewer    reads runs, threads, policy, metadata of secrets and the audit log
  operator  a viewer who starts and stops runs, sends events, talks to threads and calls tools
  approver  a viewer who decides approvals
  admin     everything, users and keys included`;

interface Json {
  readonly json?: true;
}

export function addUsers(program: Command): void {
  const users = program.command('users').description('Add people, and say what they may do, which needs an admin; link accounts in chats.');
  examples(users, 'centaur users add ann --role admin', 'centaur users role ann approver');

  const add = users
    .command('add')
    .description('Add a user and print a temporary password, this once: it only serves to choose another, within three days.')
    .argument('<name>', 'small letters, digits, ".", "-" and "_"; it stays, and nobody else gets it')
    .addOption(new Option('--role <role>', 'what they may do').choices(ROLES).makeOptionMandatory())
    .option('--email <address>', 'by it, the sign-in provider’s account finds its user')
    .option('--display-name <text>', 'as people call them')
    .option('--no-password', 'they sign in by the provider alone')
    .action(async (name: string, options: Json & { role: UserRole; email?: string; displayName?: string; password: boolean }) => {
      const added = await connect().addUser({
        name,
        role: options.role,
        password: options.password ? 'temporary' : 'none',
        ...(options.email === undefined ? {} : { email: options.email }),
        ...(options.displayName === undefined ? {} : { display_name: options.displayName }),
      });
      showPassword(`added ${added.name} (${added.role})`, added, options);
    })
    .addHelpText('after', MEANING);
  examples(
    withJson(add),
    'centaur users add ann --role admin',
    'centaur users add bob --role viewer --email bob@example.com --no-password',
  );

  const ls = users.command('ls').description('List the users, the disabled ones included.').action(list);
  examples(withJson(ls), 'centaur users ls');

  const show = users
    .command('show')
    .description('Show a user.')
    .argument('<name>', 'who')
    .action(async (name: string, options: Json) => answer(await connect().getUser(name), options));
  examples(withJson(show), 'centaur users show ann');

  const role = users
    .command('role')
    .description('Give a user another role; it counts within a second. The last admin stays one.')
    .argument('<name>', 'who')
    .argument('<role>', ROLES.join(', '))
    .action(async (name: string, given: string, options: Json) => {
      const found = ROLES.find((each) => each === given);
      if (found === undefined) throw new UsageError(`role: expected one of ${ROLES.join(', ')}`);
      answer(await connect().changeUser(name, { role: found }), options);
    });
  examples(withJson(role), 'centaur users role ann operator');

  const roles = users
    .command('roles')
    .description('Say which roles of gates a user has, such as finance for role:finance, in place of those before.')
    .argument('<name>', 'who')
    .argument('[roles...]', 'the roles; none takes all away')
    .action(async (name: string, given: readonly string[], options: Json) => answer(await connect().setUserRoles(name, given), options));
  examples(withJson(roles), 'centaur users roles ann finance oncall');

  const change = users
    .command('change')
    .description('Change the address or the display name of a user.')
    .argument('<name>', 'who')
    .option('--email <address>', '"none" takes it away')
    .option('--display-name <text>', 'as people call them')
    .action(async (name: string, { email, displayName, ...options }: Json & { email?: string; displayName?: string }) => {
      if (email === undefined && displayName === undefined) throw new UsageError('say what is to change: --email or --display-name');
      answer(await connect().changeUser(name, { email: email === 'none' ? null : email, display_name: displayName }), options);
    });
  examples(withJson(change), 'centaur users change ann --email ann@example.com');

  const disable = users
    .command('disable')
    .description('Keep a user out, and end their sessions; in effect everywhere within a second.')
    .argument('<name>', 'who')
    .action(async (name: string, options: Json) => answer(await connect().disableUser(name), options));
  examples(withJson(disable), 'centaur users disable bob');

  const enable = users
    .command('enable')
    .description('Let a disabled user sign in again.')
    .argument('<name>', 'who')
    .action(async (name: string, options: Json) => answer(await connect().enableUser(name), options));
  examples(withJson(enable), 'centaur users enable bob');

  const password = users
    .command('password')
    .description('Make a temporary password for a user who has forgotten theirs, print it, this once, and end their sessions.')
    .argument('<name>', 'who')
    .action(async (name: string, options: Json) => {
      const reset = await connect().resetPassword(name);
      showPassword(`reset the password of ${reset.name}`, reset, options);
    });
  examples(withJson(password), 'centaur users password ann');

  const sessions = users
    .command('sessions')
    .description('List the sessions of a user, or end them all.')
    .argument('<name>', 'whose')
    .option('--end', 'end all of them')
    .action(listSessions);
  examples(withJson(sessions), 'centaur users sessions ann', 'centaur users sessions ann --end');

  addUserLinks(users);
}

function showPassword(done: string, user: UserWithPassword, options: Json): void {
  if (options.json) return printJson(user);
  if (user.temporary_password === null) return print(done);
  note(`${done}; until ${clock(user.temporary_until ?? '')} this password serves to choose another, and is shown this once:`);
  print(user.temporary_password);
}

function answer(user: UserView, options: Json): void {
  if (options.json) printJson(user);
  else print(userText(user));
}

async function list(options: Json): Promise<void> {
  const page = await connect().listUsers();
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no users: "centaur users add NAME --role admin" adds the first');
  const rows = page.items.map((user) => [
    user.name,
    user.role,
    user.roles.join(', '),
    user.email ?? '-',
    [user.has_password ? 'password' : '', user.providers.length > 0 ? 'provider' : ''].filter(Boolean).join(', '),
    relative(user.last_sign_in_at),
    stateOf(user),
  ]);
  print(table(['NAME', 'ROLE', 'GATES', 'EMAIL', 'SIGNS IN BY', 'LAST', ''], rows));
}

async function listSessions(name: string, options: Json & { readonly end?: true }): Promise<void> {
  if (options.end) {
    const ended = await connect().endUserSessions(name);
    if (options.json) return printJson(ended);
    return print(`ended ${ended.ended} ${ended.ended === 1 ? 'session' : 'sessions'} of ${name}`);
  }
  const page = await connect().listUserSessions(name);
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note(`${name} has no sessions`);
  const rows = page.items.map((each) => [
    each.session_id,
    each.kind,
    each.how,
    each.address ?? '-',
    relative(each.created_at),
    relative(each.seen_at),
    relative(each.expires_at),
    printable(each.agent ?? ''),
  ]);
  print(table(['SESSION', 'KIND', 'BY', 'ADDRESS', 'BEGUN', 'SEEN', 'ENDS', 'PROGRAM'], rows));
}

function stateOf(user: UserView): string {
  if (user.disabled_at !== null) return paint('red', 'disabled');
  return user.temporary_until === null ? paint('green', 'active') : paint('yellow', 'password to be chosen');
}

function userText(user: UserView): string {
  return fields(`${paint('bold', user.display_name)} (${user.role})`, {
    name: user.name,
    state: stateOf(user),
    'roles of gates': user.roles.join(', '),
    email: user.email ?? '',
    providers: user.providers.join(', '),
    added: `${clock(user.created_at)} (${relative(user.created_at)})`,
    'last sign-in': user.last_sign_in_at === null ? 'never' : relative(user.last_sign_in_at),
  });
}
