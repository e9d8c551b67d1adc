/** The shapes of secrets, grants, leases and the audit log on the wire; those of policy and approvals are in files of their own. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { LEASE_SECONDS_MOST, ROTATION_DRIVERS, SECRET_TYPES, SOURCE_TYPES } from '../vault/index.ts';
import { named, time } from './schemas.ts';

/** Postgres keeps no zero bytes in a text. */
export const text = (least: number, most: number) =>
  z
    .string()
    .min(least)
    .max(most)
    .regex(/^[^\0]*$/, 'a zero byte is not allowed');

/** Lower case, so that what is stored and what the audit log says of it are the same. */
export const id = z
  .string()
  .regex(/^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i, 'expected an id such as 0198c0de-0000-7000-8000-000000000000')
  .toLowerCase();
/** In a path, what is no id is not found. */
export const pathId = z.string().max(64).toLowerCase();

const secretName = text(1, 128).describe('Such as STRIPE_API_KEY');
const principal = z
  .string()
  .max(250)
  .describe(
    '`workflow:<name>`, `thread:<key>`, `channel:<id>`, `user:<id>`, `tool:<name>`, `key:<id>` or `role:<name>`; `workflow:*` is every workflow',
  );

// ---- secrets

export const SecretPath = z.strictObject({ name: text(1, 200) });

const names = (most: number) =>
  z.union([z.array(text(1, 200)).min(1).max(most), z.literal(true)], { error: 'expected a list of names, or true for any' }).optional();

const templated = {
  method: text(1, 10),
  url: text(1, 2000).describe(
    'https, to a host of the secret’s own, or of the admin secret where `{{admin}}` stands in it; `{{id}}` may stand behind the host',
  ),
  headers: z.record(text(1, 100), text(0, 2000)).optional(),
  json: z.unknown().optional().describe('Sent as JSON; templates count in its strings'),
  form: z.record(text(1, 200), text(0, 2000)).optional(),
};
const HttpRotationSchema = z
  .strictObject({
    mint: z
      .strictObject({
        ...templated,
        value: text(1, 200).describe('JSON pointer to the new value in the answer, such as /data/key'),
        id: text(1, 200).optional().describe('JSON pointer to what the service calls it'),
      })
      .describe('Makes a value. `{{current}}` stands for the present one'),
    probe: z.strictObject(templated).optional().describe('Tries it: `{{new}}`, `{{id}}`. Any 2xx is good'),
    revoke: z.strictObject(templated).optional().describe('Takes back `{{revoked}}`, or `{{id}}`; `{{current}}` is the one in use then'),
  })
  .describe('Requests of the driver http');

/** Never answered, logged or put into an error. */
const value = z.string().meta({ writeOnly: true }).describe('12 characters to 32 KiB. It is sealed, and answered by no route');

export const PutSecretBody = named(
  'PutSecret',
  z.strictObject({
    value: value.optional(),
    source: z
      .looseObject({ type: z.enum(SOURCE_TYPES as readonly [string, ...string[]]) })
      .optional()
      .describe('Where to fetch it instead, such as {"type": "env", "variable": "STRIPE_KEY"} in the firewall’s own environment'),
    hosts: z
      .array(text(1, 300))
      .max(50)
      .optional()
      .describe('Where it may go: `host` or `host:port`, with `*.` in front for all names below. One at least, but none for type webhook'),
    methods: z.array(text(1, 20)).max(20).optional().describe('Default: all'),
    paths: z
      .array(
        z
          .string()
          .max(500)
          .regex(/^\/[!-~]*$/, 'expected a path such as /v1/*'),
      )
      .max(50)
      .optional()
      .describe('Globs. Default: all'),
    match_headers: names(20).describe('Headers in which its placeholder counts. Default, when no place is named: any'),
    match_query: names(20).describe('Parameters of the query in which it counts'),
    match_path: z.boolean().optional(),
    match_body: z.boolean().optional(),
    inject: z
      .strictObject({ header: text(1, 100), format: text(1, 300).optional() })
      .optional()
      .describe('Put into this header of every request to its hosts; `{value}` in the format'),
    type: z
      .enum(SECRET_TYPES)
      .optional()
      .describe(
        'Default http: the value itself is sent. The others are made from it on the way; `webhook` verifies what providers send here, and is never sent',
      ),
    options: z
      .record(z.string().max(100), z.unknown())
      .optional()
      .describe('What the type needs besides, such as a token_url. Not secret: it is answered'),
    rotation: z
      .strictObject({
        every_seconds: z
          .int()
          .min(60)
          .max(3650 * 86_400),
        grace_seconds: z
          .int()
          .min(0)
          .max(30 * 86_400)
          .optional(),
        driver: z
          .enum(ROTATION_DRIVERS)
          .optional()
          .describe('What makes a new value. Default: generate with the option `generate`, else manual: a person, whom the log tells'),
        admin_secret: text(1, 128)
          .optional()
          .describe(
            'Another secret, whose rights are used for it: of postgres_role a DSN, of http what stands as `{{admin}}`. It names this one in its option `rotates`',
          ),
        http: HttpRotationSchema.optional(),
      })
      .optional()
      .describe('When a new value is due, how long the old one is still recognised (default 3600), and what makes the new one'),
  }),
);

export const RotateSecretBody = named(
  'RotateSecret',
  z.strictObject({
    value: value.optional().describe('Without it, the driver of its rotation makes one, in a run'),
    grace_seconds: z
      .int()
      .min(0)
      .max(30 * 86_400)
      .optional()
      .describe('How long the old value is still recognised and blanked in answers. With a value; default: as it is declared'),
  }),
);

const places = z.union([z.array(z.string()), z.literal('any')]);

export const SecretSchema = named(
  'Secret',
  z.strictObject({
    name: z.string(),
    type: z.enum(SECRET_TYPES),
    source: z.looseObject({ type: z.string() }),
    hosts: z.array(z.string()),
    methods: z.array(z.string()),
    paths: z.array(z.string()),
    places: z.strictObject({ headers: places, query: places, path: z.boolean(), body: z.boolean() }),
    inject: z.strictObject({ header: z.string(), format: z.string() }).nullable(),
    options: z.record(z.string(), z.unknown()),
    rotation: z
      .strictObject({
        every_seconds: z.number(),
        grace_seconds: z.number(),
        driver: z.enum(ROTATION_DRIVERS),
        admin_secret: z.string().optional(),
        http: HttpRotationSchema.optional(),
      })
      .nullable(),
    version: z.number().nullable().describe('Of the sealed value; null when it comes from a source'),
    rotation_due_at: time.nullable(),
    last_rotation: z
      .strictObject({
        rotation_id: z.string(),
        run_id: z.string().nullable().describe('Null until a run has begun it'),
        driver: z.enum(ROTATION_DRIVERS),
        state: z
          .enum(['asked', 'begun', 'active', 'done', 'failed', 'unrevoked', 'ended'])
          .describe('active: the new value is in use, and the one before in its time of grace; failed: the one before stays in use'),
        reason: z.string().nullable().describe('A code, where it did not come to its end'),
        asked_by: z.string().describe('`system`, when its time had come'),
        from_version: z.number().nullable(),
        to_version: z.number().nullable(),
        asked_at: time,
        ended_at: time.nullable(),
        retry_at: time.nullable().describe('Of one that failed: when it is tried again by the clock'),
      })
      .nullable(),
    created_at: time,
    updated_at: time,
  }),
);

export const RewrapSchema = named(
  'Rewrap',
  z.strictObject({
    key: z.string().describe('Id of the master key that wraps what was moved'),
    moved: z.number(),
    left: z.array(z.strictObject({ key: z.string(), count: z.number(), problem: z.string() })),
  }),
);

export const RemovedSecretSchema = z.strictObject({ name: z.string(), removed: z.literal(true) });

// ---- grants and roles

export const GrantBody = named('CreateGrant', z.strictObject({ principal, secret: secretName }));
export const GrantQuery = z.strictObject({ principal: text(1, 250).optional(), secret: text(1, 128).optional() });
export const GrantPath = z.strictObject({ grant_id: pathId });
export const GrantSchema = named(
  'Grant',
  z.strictObject({
    grant_id: z.string(),
    principal: z.string(),
    secret: z.string(),
    declared: z.boolean().describe('It came with what a tool declares, and goes with it'),
    created_at: time,
  }),
);
export const RemovedGrantSchema = z.strictObject({ grant_id: z.string(), removed: z.literal(true) });

export const RefusalPath = z.strictObject({ principal, secret: secretName });
export const RefusalSchema = named('Refusal', z.strictObject({ principal: z.string(), secret: z.string(), created_at: time }));
export const AllowedSchema = z.strictObject({ principal: z.string(), secret: z.string(), refused: z.literal(false) });

export const PrincipalPath = z.strictObject({ principal });
export const RolesBody = named(
  'SetRoles',
  z.strictObject({ roles: z.array(text(1, 200)).max(50).describe('All of them; an empty list takes all away') }),
);
export const RolesSchema = z.strictObject({ principal: z.string(), roles: z.array(z.string()) });

// ---- leases

export const LeaseBody = named(
  'CreateLease',
  z.strictObject({
    principal: principal.optional().describe('Who acts. Default: the key, as `key:<id>`; another one needs an admin key'),
    secrets: z.array(secretName).max(100),
    ttl_seconds: z.int().min(1).max(LEASE_SECONDS_MOST).optional().describe('Default 900'),
    max_uses: z.int().min(1).max(1_000_000).optional().describe('Most requests'),
    kind: z.enum(['run', 'call', 'step']).optional().describe('Default run; `call` is for one request'),
    run_id: id.optional(),
    step: text(1, 300).optional(),
    thread_key: text(1, 512).optional(),
    source: z
      .string()
      .refine(isAddress, 'expected an address, or a range such as 10.0.0.0/8')
      .optional()
      .describe('From where alone it works'),
  }),
);

function isAddress(range: string): boolean {
  const parts = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(range);
  const version = isIP(parts?.[1] ?? '');
  return version !== 0 && !range.includes('%') && Number(parts?.[2] ?? 0) <= (version === 4 ? 32 : 128);
}

export const CreatedLeaseSchema = named(
  'CreatedLease',
  z.strictObject({
    lease_id: z.string(),
    proxy_url: z.string().describe('With the token of the lease, which is shown this once'),
    ca_file: z.string().nullable().describe('The certificate on the server’s own machine; null when it is not there'),
    ca_pem: z.string().describe('The certificate that clients must trust'),
    placeholders: z.record(z.string(), z.string()).describe('By the name of the secret'),
    env: z
      .record(z.string(), z.string())
      .describe('For a process: the proxy, the certificate, and each placeholder under its secret’s name'),
    expires_at: time,
  }),
);

export const LeasePath = z.strictObject({ lease_id: pathId });
export const RevokeQuery = z.strictObject({ reason: text(1, 500).optional() });
export const LeaseQuery = z.strictObject({
  principal: text(1, 250).optional(),
  active: z.enum(['true', 'false']).optional().describe('`true`: only those that still work'),
  after: id.optional().describe('`next` of the page before'),
  limit: z.coerce.number().int().min(1).max(200).optional().describe('Default 50'),
});

export const LeaseSchema = named(
  'Lease',
  z.strictObject({
    lease_id: z.string(),
    kind: z.enum(['run', 'call', 'step', 'tool']),
    principal: z.string(),
    on_behalf_of: z.string().nullable().describe('A user whose grants count besides'),
    besides: z.array(z.string()).describe('Of a turn: whose grants count besides, of who asked for it and of its channel'),
    secrets: z.array(z.string()),
    run_id: z.string().nullable(),
    step: z.string().nullable(),
    thread_key: z.string().nullable(),
    source: z.string().nullable(),
    egress: z
      .array(z.strictObject({ host: z.string(), methods: z.array(z.string()), paths: z.array(z.string()) }))
      .nullable()
      .describe('What alone it reaches; null: what policy and bindings allow. Empty `methods` or `paths`: all'),
    max_uses: z.number().nullable(),
    used: z.number(),
    status: z.enum(['active', 'used', 'expired', 'revoked']),
    created_at: time,
    expires_at: time,
    revoked_at: time.nullable(),
  }),
);
export const RevokedLeaseSchema = z.strictObject({ lease_id: z.string(), revoked: z.literal(true) });

// ---- audit

/** As in a `traceparent`, or as a UUID. */
const traceId = z
  .string()
  .regex(/^[\da-f]{32}$|^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i, 'expected 32 hex digits')
  .transform(traceUuid);

/** The form in which the audit log keeps a trace id. */
export function traceUuid(hex: string): string {
  return hex
    .toLowerCase()
    .replaceAll('-', '')
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

export const AuditQuery = z.strictObject({
  action: text(1, 100).optional().describe('Such as `lease.create`, or `lease` for all of its kind'),
  actor: text(1, 300).optional(),
  resource: text(1, 1000).optional(),
  decision: z.enum(['allow', 'deny', 'approve']).optional(),
  lease_id: id.optional(),
  run_id: id.optional(),
  trace_id: traceId.optional(),
  thread_key: text(1, 300).optional(),
  after: id.optional().describe('`next` of the page before; or any id, with `order=asc` to read on from there'),
  order: z.enum(['desc', 'asc']).optional().describe('Default desc: newest first'),
  limit: z.coerce.number().int().min(1).max(500).optional().describe('Default 50'),
});
export const AuditPath = z.strictObject({ audit_id: pathId });
export const VerifyBody = named(
  'VerifyAudit',
  z.strictObject({
    anchors: z.array(z.string().max(2000)).max(100).optional().describe('Signed checkpoints that were kept outside the database'),
  }),
);
export const EraseBody = named('EraseSubject', z.strictObject({ subject: text(1, 300).describe('Whose private details are erased') }));

export const AuditEntrySchema = named(
  'AuditEntry',
  z
    .looseObject({ id: z.string(), at: time, action: z.string(), actor: z.string() })
    .describe(
      'Besides: `resource`, `decision`, `intent_id`, `lease_id`, `run_id`, `thread_key`, `trace_id` and `details`, where there are any',
    ),
);

export const InclusionProofSchema = named(
  'InclusionProof',
  z.strictObject({
    audit_id: z.string(),
    entry: z.string().describe('The text that was sealed'),
    mac: z.string(),
    leaf: z.string(),
    batch: z.number(),
    index: z.number(),
    count: z.number(),
    path: z.array(z.string()).describe('Hashes that lead from the leaf to the root, lowest first, base64'),
    root: z.string(),
    prev_hash: z.string(),
    hash: z.string(),
    size: z.number(),
    last_xid: z.string(),
    last_id: z.string(),
    checkpoint: z.string().nullable().describe('The first signed checkpoint that covers it; null when there is none yet'),
  }),
);

export const VerifyReportSchema = named(
  'AuditReport',
  z.strictObject({
    ok: z.boolean().describe('Nothing was found'),
    entries: z.number(),
    batches: z.number(),
    checkpoints: z.number(),
    unsealed: z.number().describe('Entries that are committed and not sealed yet'),
    pruned: z.number().describe('Sealed entries that were dropped when their time was over'),
    problems: z.number().describe('How many were found'),
    findings: z
      .array(z.strictObject({ batch: z.number().nullable(), audit_id: z.string().nullable(), problem: z.string() }))
      .describe('The first thousand of them'),
  }),
);

export const AuditKeySchema = z.strictObject({
  origin: z.string().describe('Names the installation in its checkpoints'),
  public_key: z.string().describe('Ed25519, 32 bytes in base64'),
});
