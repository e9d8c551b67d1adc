/**
 * Names of OpenTelemetry's semantic conventions, those of generative AI among them (https://opentelemetry.io/docs/specs/semconv/gen-ai/, still in
 * development; as of release 1.45). Here and nowhere else, so that a change of theirs is a change of one file.
 */
export const OPERATION = 'gen_ai.operation.name';
export const OPERATIONS = { workflow: 'invoke_workflow', agent: 'invoke_agent', tool: 'execute_tool' } as const;

export const NAMES = {
  workflow: 'gen_ai.workflow.name',
  agent: 'gen_ai.agent.name',
  conversation: 'gen_ai.conversation.id',
  model: 'gen_ai.request.model',
  inputTokens: 'gen_ai.usage.input_tokens',
  outputTokens: 'gen_ai.usage.output_tokens',
  tool: 'gen_ai.tool.name',
  toolType: 'gen_ai.tool.type',
  toolCall: 'gen_ai.tool.call.id',
  error: 'error.type',
  method: 'http.request.method',
  status: 'http.response.status_code',
  address: 'server.address',
  port: 'server.port',
} as const;

/** What the conventions have no name for. */
export const OURS = 'centaur.';
