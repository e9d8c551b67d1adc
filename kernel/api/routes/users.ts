/** Users, for admins. */
import { giveRoles } from '../principal-roles.ts';
import { actorOf, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { usersOf } from '../services.ts';
import {
  AddUserBody,
  ChangeUserBody,
  EndedSessionsSchema,
  UserPath,
  UserRolesBody,
  UserSchema,
  UserSessionSchema,
  UserWithPasswordSchema,
} from '../user-schemas.ts';

const access = { scope: 'admin' } as const;
const NOT_FOUND = ['USER_NOT_FOUND', 'USERS_UNAVAILABLE'] as const;

export const userRoutes = [
  route({
    id: 'listUsers',
    method: 'GET',
    path: '/users',
    group: 'Users',
    summary: 'List the users, the disabled ones included',
    access,
    responses: { 200: { description: 'All of them', schema: page(UserSchema) } },
    errors: ['USERS_UNAVAILABLE'],
    handle: async (_call, services) => ok({ items: await usersOf(services).list(), next: null }),
  }),
  route({
    id: 'addUser',
    method: 'POST',
    path: '/users',
    group: 'Users',
    summary: 'Add a user',
    description: 'The answer holds a temporary password, this once. The first admin is made with the admin key.',
    access,
    body: AddUserBody,
    example: { name: 'ann', role: 'approver', email: 'ann@example.com' },
    responses: { 201: { description: 'The user', schema: UserWithPasswordSchema } },
    errors: ['INVALID_USER', 'USER_EXISTS', 'SIGN_IN_BUSY', 'USERS_UNAVAILABLE'],
    async handle({ body: { password = 'temporary', ...user }, caller }, services) {
      return { status: 201, body: await usersOf(services).add(actorOf(caller), user, password) };
    },
  }),
  route({
    id: 'getUser',
    method: 'GET',
    path: '/users/{name}',
    group: 'Users',
    summary: 'Read a user',
    access,
    params: UserPath,
    responses: { 200: { description: 'The user', schema: UserSchema } },
    errors: NOT_FOUND,
    handle: async ({ params }, services) => ok(await usersOf(services).get(params.name)),
  }),
  route({
    id: 'changeUser',
    method: 'PUT',
    path: '/users/{name}',
    group: 'Users',
    summary: 'Change a user’s role, display name or address',
    description:
      'What is not given stays. Another role counts for their sessions within a second; one that a key gives ends them. The last admin stays one.',
    access,
    params: UserPath,
    body: ChangeUserBody,
    example: { role: 'operator' },
    responses: { 200: { description: 'The user', schema: UserSchema } },
    errors: [...NOT_FOUND, 'INVALID_USER', 'USER_EXISTS', 'LAST_ADMIN'],
    handle: async ({ params, body, caller }, services) => ok(await usersOf(services).change(actorOf(caller), params.name, body)),
  }),
  route({
    id: 'setUserRoles',
    method: 'PUT',
    path: '/users/{name}/roles',
    group: 'Users',
    summary: 'Say which roles of gates a user has, in place of those before',
    description: 'Given by a key, they end every session of the user.',
    access,
    params: UserPath,
    body: UserRolesBody,
    example: { roles: ['finance'] },
    responses: { 200: { description: 'The user', schema: UserSchema } },
    errors: NOT_FOUND,
    async handle({ params: { name }, body, caller }, services) {
      const users = usersOf(services);
      await users.get(name);
      await giveRoles(services, caller, `user:${name}`, [...new Set(body.roles)]);
      return ok(await users.get(name));
    },
  }),
  route({
    id: 'disableUser',
    method: 'POST',
    path: '/users/{name}/disable',
    group: 'Users',
    summary: 'Disable a user, and end every session of theirs',
    description: 'In effect everywhere within a second. Nobody is deleted: the audit log names them. The last admin cannot be disabled.',
    access,
    params: UserPath,
    responses: { 200: { description: 'The user', schema: UserSchema } },
    errors: [...NOT_FOUND, 'LAST_ADMIN'],
    handle: async ({ params, caller }, services) => ok(await usersOf(services).disable(actorOf(caller), params.name)),
  }),
  route({
    id: 'enableUser',
    method: 'POST',
    path: '/users/{name}/enable',
    group: 'Users',
    summary: 'Let a disabled user sign in again',
    access,
    params: UserPath,
    responses: { 200: { description: 'The user', schema: UserSchema } },
    errors: NOT_FOUND,
    handle: async ({ params, caller }, services) => ok(await usersOf(services).enable(actorOf(caller), params.name)),
  }),
  route({
    id: 'resetPassword',
    method: 'POST',
    path: '/users/{name}/password',
    group: 'Users',
    summary: 'Make a temporary password in place of the one that a user has, and end every session of theirs',
    access,
    params: UserPath,
    responses: { 200: { description: 'The user, with the password, this once', schema: UserWithPasswordSchema } },
    errors: [...NOT_FOUND, 'SIGN_IN_BUSY'],
    handle: async ({ params, caller }, services) => ok(await usersOf(services).resetPassword(actorOf(caller), params.name)),
  }),
  route({
    id: 'listUserSessions',
    method: 'GET',
    path: '/users/{name}/sessions',
    group: 'Users',
    summary: 'List the sessions of a user, newest first',
    access,
    params: UserPath,
    responses: { 200: { description: 'All of them', schema: page(UserSessionSchema) } },
    errors: NOT_FOUND,
    handle: async ({ params }, services) => ok({ items: await usersOf(services).sessions(params.name), next: null }),
  }),
  route({
    id: 'endUserSessions',
    method: 'DELETE',
    path: '/users/{name}/sessions',
    group: 'Users',
    summary: 'End every session of a user',
    access,
    params: UserPath,
    responses: { 200: { description: 'How many there were', schema: EndedSessionsSchema } },
    errors: NOT_FOUND,
    handle: async ({ params, caller }, services) => ok({ ended: await usersOf(services).endSessions(actorOf(caller), params.name) }),
  }),
];
