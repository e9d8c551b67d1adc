/** Memory: notes of a conversation and of all of them, found by their words and by what they mean. See README.md. */
import { defineTool } from '@centaur/sdk';
import { hostOf } from '../_shared/rest.ts';
import { API, KEY } from './embed.ts';
import { noteMethods } from './notes.ts';
import { DATABASE } from './schema.ts';

export default defineTool({
  description: 'Notes that outlast a conversation: save, find, list and forget them, for one conversation or shared by all.',
  secrets: [
    {
      name: DATABASE,
      type: 'pg_dsn',
      description: 'postgres://… of a user that may create roles, with the option role=… for the role that owns the schema centaur_memory',
    },
    {
      name: KEY,
      hosts: [hostOf(API)],
      methods: ['POST'],
      paths: [`${new URL(API).pathname.replace(/\/$/, '')}/embeddings`],
      match_headers: ['authorization'],
      optional: true,
      description: 'For finding notes by meaning: the key of a service with OpenAI’s embeddings API. The database needs pgvector',
    },
  ],
  methods: noteMethods,
});
