/** The shapes of users, of their sessions, and of signing in. */
import { z } from 'zod';
import { USER_ROLES } from '../users/index.ts';
import { named, time } from './schemas.ts';
import { text } from './trust-schemas.ts';

export const UserPath = z.strictObject({ name: text(1, 100) });

const role = named('UserRole', z.enum(USER_ROLES));
const email = z.string().max(300).nullable().optional();
/** Longer than any password may be: the room says which length it wants, and in which field. */
const password = z.string().min(1).max(4000).meta({ writeOnly: true });

export const AddUserBody = named(
  'AddUser',
  z.strictObject({
    name: z.string().max(100).describe('1 to 64 small letters, digits, ".", "-" and "_". It stays, and nobody else gets it'),
    role,
    display_name: z.string().max(200).optional(),
    email: email.describe('By it a provider’s account finds its user'),
    password: z
      .enum(['temporary', 'none'])
      .optional()
      .describe('`temporary`: one is made and answered this once, which counts for three days and only to choose another. Default'),
  }),
);

export const ChangeUserBody = named(
  'ChangeUser',
  z.strictObject({ role: role.optional(), display_name: z.string().max(200).optional(), email }),
);

export const UserRolesBody = named(
  'UserRoles',
  z.strictObject({
    roles: z
      .array(z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'expected small letters, digits, ".", "-" and "_", such as finance'))
      .max(50)
      .describe('As gates name them: `finance` for `role:finance`'),
  }),
);

const userFields = {
  user_id: z.string(),
  name: z.string(),
  display_name: z.string(),
  role,
  roles: z.array(z.string()),
  email: z.string().nullable(),
  has_password: z.boolean(),
  temporary_until: time.nullable().describe('Until when the password counts that an admin was shown, and that is still to be replaced'),
  providers: z.array(z.string()).describe('Issuers of the providers by which they sign in'),
  created_at: time,
  updated_at: time,
  last_sign_in_at: time.nullable(),
  disabled_at: time.nullable(),
};

export const UserSchema = named('User', z.strictObject(userFields));

export const UserWithPasswordSchema = named(
  'UserWithPassword',
  z.strictObject({ ...userFields, temporary_password: z.string().nullable().describe('Shown this once') }),
);

export const UserSessionSchema = named(
  'UserSession',
  z.strictObject({
    session_id: z.string(),
    kind: z.enum(['browser', 'cli']),
    how: z.enum(['password', 'oidc']),
    address: z.string().nullable(),
    agent: z.string().nullable(),
    proven_at: time,
    created_at: time,
    seen_at: time,
    expires_at: time,
  }),
);

export const EndedSessionsSchema = named('EndedSessions', z.strictObject({ ended: z.number().int() }));

export const PasswordBody = named(
  'SignInWithPassword',
  z.strictObject({
    name: z.string().min(1).max(4000),
    password,
    new_password: password.optional().describe('In place of the old one, from now on; every other session ends'),
    kind: z.enum(['cli', 'browser']).optional().describe('`cli`: the token is in the answer. `browser`: in a cookie. Default `cli`'),
  }),
);

export const ProveBody = named('ProveWithPassword', z.strictObject({ password }));

export const SessionSchema = named(
  'Session',
  z.strictObject({
    session_id: z.string(),
    user: z.strictObject({ user_id: z.string(), name: z.string(), display_name: z.string(), role, roles: z.array(z.string()) }),
    scopes: z.array(z.string()).describe('What the role may do'),
    kind: z.enum(['browser', 'cli']),
    how: z.enum(['password', 'oidc']),
    has_password: z.boolean(),
    proven_at: time.describe('When password or provider last proved who it is; 1970 where the provider does not say'),
    expires_at: time.describe('At the latest; earlier when nobody uses it'),
  }),
);

export const BegunSessionSchema = named(
  'BegunSession',
  z.strictObject({
    token: z.string().nullable().describe('Shown this once; null where it is in a cookie'),
    session: SessionSchema,
  }),
);

export const SignedOutSchema = named('SignedOut', z.strictObject({ signed_out: z.literal(true) }));

export const OidcStartQuery = z.strictObject({
  return_to: z.string().max(2000).optional().describe('A page of this server'),
  again: z.literal('1').optional().describe('The provider is to ask for the person’s proof again'),
});

/** Providers add parameters of their own. */
export const OidcCallbackQuery = z.looseObject({ state: z.string().max(500).optional(), code: z.string().max(8000).optional() });

export const StartedDeviceSchema = named(
  'StartedDevice',
  z.strictObject({
    handle: z.string().describe('To ask with; shown this once'),
    user_code: z.string().describe('To be typed at the address below'),
    verification_uri: z.string(),
    verification_uri_complete: z.string().nullable(),
    expires_in: z.number().describe('Seconds'),
    interval: z.number().describe('Seconds between two polls'),
  }),
);

export const PollBody = named('PollDevice', z.strictObject({ handle: z.string().min(1).max(200) }));

export const PolledSchema = named(
  'PolledDevice',
  z.strictObject({
    status: z.enum(['pending', 'done']),
    interval: z.number().nullable().describe('Seconds until it is asked again'),
    token: z.string().nullable(),
    session: SessionSchema.nullable(),
  }),
);
