// Every runtime dependency has its reason here; the golden list shows them, and one without a reason fails the test.

export const DEPENDENCY_REASONS: Readonly<Record<string, string>> = {
  '@clack/prompts': 'questions on a terminal; loaded only when one is asked',
  croner: 'cron expressions with time zones and daylight saving',
  fastify: 'HTTP server of the API',
  ignore: 'gitignore patterns when a folder is packed',
  'modern-tar': 'reads the tar of uploaded bundles, as a stream',
  'acme-client': 'certificates from an ACME authority; loaded with the first order',
  re2js: 'patterns of Routes in linear time; loaded with the first of them',
  pino: 'JSON log lines',
  ws: 'WebSockets where we end them ourselves',
  yaml: 'manifests with positions of every node',
  zod: 'validates manifests and requests, and describes them as JSON Schema',
};
