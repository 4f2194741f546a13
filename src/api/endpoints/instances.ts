// Instances: what runs, its output, one-off runs and exec.

import { endpoint } from '../endpoint.ts';
import { instanceShape, logLineShape, nameShape, usagePointsShape } from '../shapes.ts';

export const instances = {
  list: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/instances',
    summary: 'Instances of an Environment: those that shall run, and ended ones while they are kept.',
    permission: 'apps.read',
    scope: 'environment',
    query: (z) => z.object({ all: z.stringbool().default(false).describe('Ended ones too') }),
    reply: (z) => z.object({ items: z.array(instanceShape(z)) }),
    errors: ['not_found'],
  }),
  logs: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/logs',
    kind: 'sse',
    summary: 'Output lines of the chosen Instances, merged by time. `follow` keeps the stream open and takes in new Instances.',
    permission: 'logs.read',
    scope: 'environment',
    query: (z) =>
      z.object({
        entrypoint: nameShape(z).optional(),
        instance: z.string().max(64).optional().describe('Id, or the beginning of one; also finds ended, one-off and build Instances'),
        tail: z.coerce.number().int().min(0).max(10_000).default(100).describe('Of the lines that the others let through'),
        since: z.coerce.number().int().min(0).optional().describe('Lines from then on; UTC milliseconds'),
        until: z.coerce.number().int().min(0).optional().describe('Lines until then; UTC milliseconds; not with `follow`'),
        grep: z.string().min(1).max(256).optional().describe('Lines in which this pattern (RE2 syntax) occurs'),
        follow: z.stringbool().default(false),
      }),
    reply: (z) => logLineShape(z),
    errors: ['not_found', 'unavailable'],
  }),
  stats: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/stats',
    summary: 'What Instances took over time, as their Nodes have kept it: steps of ten seconds for an hour, of five minutes for two days.',
    permission: 'apps.read',
    scope: 'environment',
    query: (z) =>
      z.object({
        entrypoint: nameShape(z).optional(),
        instance: z.string().max(64).optional().describe('Id, or the beginning of one; also finds ended ones'),
        since: z.coerce.number().int().min(0).optional().describe('UTC milliseconds; default an hour ago'),
        until: z.coerce.number().int().min(0).optional().describe('UTC milliseconds; default now'),
      }),
    reply: (z) =>
      z.object({
        items: z.array(
          z.object({
            instance: z.string(),
            entrypoint: z.string(),
            slot: z.number(),
            node: z.string(),
            stepMs: z.number(),
            points: usagePointsShape(z),
          }),
        ),
        missing: z.array(z.object({ node: z.string(), message: z.string() })).describe('Nodes that did not answer, and why'),
      }),
    errors: ['not_found', 'unavailable'],
  }),
  run: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/runs',
    summary:
      'Runs a command as one-off Instances of the stable Deployment, with the variables and files of an Entrypoint: all of them, or none where they do not all find a Node.',
    permission: 'exec',
    scope: 'environment',
    body: (z) =>
      z.object({
        entrypoint: nameShape(z)
          .optional()
          .describe('Whose variables and limits; default `web`, else the first. Without a command, its own command runs'),
        command: z.array(z.string().max(10_000)).min(1).max(200).optional(),
        count: z.number().int().min(1).max(40).default(1).describe('At once, in slots 0 to count − 1'),
      }),
    reply: (z) => z.object({ items: z.array(instanceShape(z)) }),
    status: 202,
    errors: ['not_found', 'plan_refused', 'no_capacity'],
  }),
  get: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/instances/{instance}',
    summary: 'One Instance by id or the unambiguous beginning of one.',
    permission: 'apps.read',
    scope: 'environment',
    reply: (z) => instanceShape(z),
    errors: ['not_found', 'invalid_input'],
  }),
  stop: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/instances/{instance}/stop',
    summary: 'Stops one Instance. A service Instance is replaced by a new one; a one-off ends.',
    permission: 'scale',
    scope: 'environment',
    reply: (z) => instanceShape(z),
    status: 202,
    errors: ['not_found', 'conflict'],
  }),
  exec: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/instances/{instance}/exec',
    kind: 'socket',
    summary:
      'A command inside an Instance. Frames: first byte 0 input, 1 output, 2 errors, 3 end of input, 4 exit as JSON {code, signal}, 7 a new size of the terminal as JSON {columns, rows}.',
    permission: 'exec',
    scope: 'environment',
    query: (z) =>
      z.object({
        command: z
          .string()
          .max(64 * 1024)
          .describe('JSON array of words'),
        terminal: z
          .string()
          .regex(/^[1-9]\d{0,2}x[1-9]\d{0,2}$/u)
          .optional()
          .describe('Columns and rows of a terminal that the command gets, such as 80x24; absent: pipes'),
      }),
    status: 101,
    errors: ['not_found', 'unavailable', 'unsupported'],
  }),
  files: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/instances/{instance}/files',
    kind: 'socket',
    summary:
      'Copies files out of a running Instance or into it, as a tar whose entries begin with one name. Frames: first byte 0 the tar in, 3 its end, 1 the tar out, 5 what became of it as JSON {files, bytes, leftOut, examples}, 4 it is done, 6 why it is not.',
    permission: 'exec',
    scope: 'environment',
    query: (z) =>
      z.object({
        path: z.string().max(4096).describe('In the Instance; a relative one counts from its work folder'),
        direction: z.enum(['out', 'in']),
        named: z
          .stringbool()
          .default(true)
          .describe(
            'In: where no folder is at the path, the copy gets its name. False: a folder has to be there, and entries begin as they like',
          ),
      }),
    status: 101,
    errors: ['not_found', 'unavailable', 'unsupported'],
  }),
};
