/** The shapes of OAuth apps and connected accounts on the wire. */
import { z } from 'zod';
import { PROVIDERS } from '../oauth/index.ts';
import { named, time } from './schemas.ts';
import { text } from './trust-schemas.ts';

export const AppPath = z.strictObject({ name: text(1, 100) });
export const ConnectionPath = z.strictObject({ connection_id: z.string().max(64).toLowerCase() });

const url = text(1, 2000);

export const PutAppBody = named(
  'PutOAuthApp',
  z.strictObject({
    provider: z.enum(PROVIDERS).describe('What is not said below is as this provider has it; `custom` knows nothing'),
    client_id: text(1, 500),
    client_secret: z
      .string()
      .nullable()
      .optional()
      .meta({ writeOnly: true })
      .describe('Sealed, and answered by no route. Null: a public client. Default: the one that is there'),
    scopes: z.array(text(1, 300)).max(100).optional(),
    authorize_url: url.nullable().optional().describe('Where people sign in'),
    token_url: url.optional(),
    device_url: url.nullable().optional().describe('RFC 8628'),
    revoke_url: url.nullable().optional().describe('RFC 7009'),
    issuer: url.nullable().optional().describe('Held against the `iss` of an answer, where one is sent'),
    scope_separator: z.enum([' ', ',']).optional(),
    authorize_params: z.record(z.string().max(100), z.string().max(500)).optional().describe('More of the address where people sign in'),
    hosts: z.array(text(1, 300)).min(1).max(50).optional().describe('Where its tokens may go'),
    secret: text(1, 60).optional().describe('Name of the secret that it makes: as the tool declares it'),
    inject: text(1, 300)
      .nullable()
      .optional()
      .describe(
        'How the token stands in the authorization header of every request to the hosts, such as `Bearer {value}`. Null: where it is sent',
      ),
  }),
);

export const AppSchema = named(
  'OAuthApp',
  z.strictObject({
    name: z.string(),
    provider: z.enum(PROVIDERS),
    client_id: z.string(),
    has_client_secret: z.boolean(),
    redirect_uri: z
      .string()
      .nullable()
      .describe('To be registered at the provider. Null: it has no browser flow, or `CENTAUR_PUBLIC_URL` is no address for one'),
    authorize_url: z.string().nullable(),
    token_url: z.string(),
    device_url: z.string().nullable(),
    revoke_url: z.string().nullable(),
    issuer: z.string().nullable(),
    scopes: z.array(z.string()),
    scope_separator: z.string(),
    authorize_params: z.record(z.string(), z.string()),
    hosts: z.array(z.string()),
    secret: z.string(),
    inject: z.string().nullable(),
    created_at: time,
    updated_at: time,
  }),
);

export const RemovedAppSchema = named('RemovedOAuthApp', z.strictObject({ name: z.string(), removed: z.literal(true) }));

export const ConnectBody = named(
  'ConnectAccount',
  z.strictObject({
    app: text(1, 100),
    user: text(1, 200).optional().describe('Whose account it is, as messages name their user. Default: everybody’s'),
    flow: z.enum(['code', 'device']).optional().describe('Default code: in the browser'),
  }),
);

const connectionFields = {
  connection_id: z.string(),
  app: z.string(),
  user: z.string().nullable(),
  flow: z.enum(['code', 'device']),
  status: z
    .enum(['pending', 'connected', 'broken', 'failed', 'expired', 'revoked', 'replaced'])
    .describe('`broken`: the provider refuses its tokens now, or its secret is gone; connect it again'),
  reason: z.string().nullable().describe('A code that says why it failed or broke, or that its client is refused since its last use'),
  secret: z.string().describe('Its tokens are the value of this secret'),
  scopes: z.array(z.string()).describe('Of those that were asked for, which were given'),
  token_ends_at: time.nullable().describe('When its token ends, which nobody can refresh; null: it is refreshed, or does not end'),
  expires_at: time.describe('Of the attempt'),
  created_at: time,
  updated_at: time,
};

export const ConnectionSchema = named('Connection', z.strictObject(connectionFields));

export const StartedConnectionSchema = named(
  'StartedConnection',
  z.strictObject({
    ...connectionFields,
    authorize_url: z.string().nullable().describe('To be opened in a browser, within ten minutes'),
    device: z
      .strictObject({
        user_code: z.string().describe('To be typed at the address below'),
        verification_uri: z.string(),
        verification_uri_complete: z.string().nullable(),
      })
      .nullable(),
  }),
);

export const RevokedConnectionSchema = named(
  'RevokedConnection',
  z.strictObject({
    connection_id: z.string(),
    revoked: z.literal(true),
    at_provider: z.enum(['revoked', 'failed', 'none']).describe('`none`: it has no address for that, or there was nothing to take back'),
  }),
);

/** Providers add parameters of their own, which are not looked at. */
export const CallbackQuery = z.looseObject({
  state: z.string().max(200).optional(),
  code: z.string().max(4000).optional(),
  error: z.string().max(200).optional(),
  iss: z.string().max(2000).optional(),
});
