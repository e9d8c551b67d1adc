/** The shapes of tools on the wire. */
import { z } from 'zod';
import { RISKS } from '../tools/index.ts';
import { named } from './schemas.ts';

const json = z.record(z.string(), z.unknown());
const toolName = z.string().describe('Of the tool');

export const ToolPath = z.strictObject({ name: toolName });
export const ToolMethodPath = z.strictObject({ name: toolName, method: z.string().describe('Of the method') });

const method = { name: z.string(), description: z.string(), risk: z.enum(RISKS) };
const tool = {
  name: z.string(),
  description: z.string(),
  version: z.string().describe('Changes with its code'),
  missing_secrets: z.array(z.string()).describe('Secrets that it needs and may not use yet: until then its calls are refused'),
};

const ToolSchema = named('Tool', z.strictObject({ ...tool, methods: z.array(z.strictObject(method)) }));

export const ToolsSchema = named(
  'Tools',
  z.strictObject({
    items: z.array(ToolSchema),
    next: z.null(),
    problems: z
      .array(z.strictObject({ file: z.string(), line: z.int().optional(), column: z.int().optional(), message: z.string() }))
      .describe('What is wrong with files of tools. Empty for callers that may not see every tool'),
  }),
);

const opening = { methods: z.array(z.string()).describe('Empty: all'), paths: z.array(z.string()).describe('Empty: all') };

export const ToolDetailSchema = named(
  'ToolDetail',
  z.strictObject({
    ...tool,
    language: z.enum(['node', 'python']),
    methods: z.array(
      z.strictObject({
        ...method,
        input: json.describe('JSON Schema of the arguments'),
        output: json.nullable().describe('JSON Schema of the result, where the tool has one'),
        idempotent: z.boolean().describe('Doing it again does no harm'),
        timeout_ms: z.int(),
      }),
    ),
    secrets: z.array(
      z.strictObject({
        name: z.string(),
        type: z.string(),
        optional: z.boolean(),
        description: z.string().nullable(),
        hosts: z.array(z.string()),
        ...opening,
        match_headers: z.array(z.string()),
        match_query: z.array(z.string()),
        match_path: z.boolean(),
        match_body: z.boolean(),
      }),
    ),
    hosts: z.array(z.strictObject({ host: z.string(), ...opening })).describe('That it calls without a secret'),
    memory_mb: z.int().nullable().describe('What its process asks for, if that is more than tools get'),
    processes: z.int().nullable(),
  }),
);

export const ToolResultSchema = named(
  'ToolResult',
  z.strictObject({
    tool: z.string(),
    method: z.string(),
    result: z
      .unknown()
      .describe('JSON. Of a thread, a large one is `{"attachment", "preview"}`: the whole is among the attachments of the thread'),
    edited: z
      .strictObject({
        approval_id: z.string(),
        by: z.string().describe('Name of the user'),
        changed: json.describe('Values by their paths; null for what was taken out'),
      })
      .optional()
      .describe('Whoever approved the call changed its arguments: this is what was made'),
  }),
);
