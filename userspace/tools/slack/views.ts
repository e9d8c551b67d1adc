/** Modals and the app's home. */
import { method } from '@centaur/sdk';
import * as z from 'zod';
import { call, user } from './api.ts';

interface RawView {
  readonly view: { readonly id: string; readonly hash?: string };
}

const view = z
  .looseObject({ type: z.enum(['modal', 'home']), blocks: z.array(z.looseObject({ type: z.string() })).max(100) })
  .describe('A view of Block Kit');
const trigger_id = z.string().min(1).describe('Of what the user did (a button, a command), good for three seconds');

export const viewMethods = {
  open_view: method({
    description: 'Opens a modal for a user who has just pressed something.',
    risk: 'write',
    input: z.strictObject({ trigger_id, view }),
    run: async (input, ctx) => toView(await call<RawView>(ctx, 'views.open', input)),
  }),

  update_view: method({
    description: 'Replaces a modal that is open.',
    risk: 'write',
    input: z.strictObject({
      view_id: z.string().min(1),
      hash: z.string().optional().describe('Refuse if the view has changed since'),
      view,
    }),
    run: async (input, ctx) => toView(await call<RawView>(ctx, 'views.update', input)),
  }),

  publish_home: method({
    description: "Replaces what a user sees in the app's home tab.",
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ user_id: user, view }),
    run: async (input, ctx) => toView(await call<RawView>(ctx, 'views.publish', input, { repeatable: true })),
  }),
};

function toView({ view }: RawView): { readonly view_id: string; readonly hash: string | undefined } {
  return { view_id: view.id, hash: view.hash };
}
