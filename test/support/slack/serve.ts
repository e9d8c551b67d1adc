/** An emulated Slack in a process of its own: it tells its parent where it is, and ends with it. */
import { startSlack } from './index.ts';

const slack = await startSlack({ rateLimits: 'counted' });
process.once('disconnect', () => process.exit(0));
process.send?.({ apiUrl: slack.apiUrl, botToken: slack.botToken, signingSecret: slack.signingSecret });
