// The situations in which the Edge answers itself, and the words for each: what it is and what to look at next. Strangers read these too,
// so nothing about other Apps stands here.

export type Situation =
  /** Whoever orders a certificate asks for this text (RFC 8555 §8.3). */
  | { readonly type: 'challenge'; readonly keyAuthorization: string }
  | { readonly type: 'bad_request'; readonly why: string }
  | { readonly type: 'no_table' }
  | { readonly type: 'no_host'; readonly host: string }
  | { readonly type: 'no_path'; readonly host: string; readonly path: string }
  | { readonly type: 'stopped'; readonly app: string; readonly environment: string }
  | { readonly type: 'paused'; readonly app: string; readonly environment: string }
  | { readonly type: 'starting'; readonly app: string; readonly environment: string }
  | { readonly type: 'no_instance'; readonly app: string; readonly environment: string }
  | { readonly type: 'refused'; readonly app: string; readonly environment: string }
  | { readonly type: 'broken'; readonly app: string; readonly environment: string }
  | { readonly type: 'timeout'; readonly app: string; readonly environment: string }
  | { readonly type: 'busy'; readonly app: string; readonly environment: string }
  | { readonly type: 'client_timeout' }
  | { readonly type: 'forbidden' }
  | { readonly type: 'unauthorized' }
  /** `problem` null: none was shown. */
  | { readonly type: 'client_certificate'; readonly problem: string | null }
  | { readonly type: 'misdirected' }
  | { readonly type: 'too_many' }
  | { readonly type: 'too_large'; readonly bytes: number };

export interface PageText {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly hint: string;
  /** Shown as code; null where no command helps. */
  readonly command: string | null;
  readonly retryAfterSeconds: number | null;
}

export function pageText(situation: Exclude<Situation, { readonly type: 'challenge' }>): PageText {
  const text = (status: number, title: string, detail: string, more: Partial<PageText> = {}): PageText => ({
    status,
    code: situation.type,
    title,
    detail,
    hint: '',
    command: null,
    retryAfterSeconds: null,
    ...more,
  });
  switch (situation.type) {
    case 'bad_request':
      return text(400, 'Bad request', `The request cannot be understood: ${situation.why}.`);
    case 'client_timeout':
      return text(408, 'Request timeout', 'The request body stopped arriving.');
    case 'forbidden':
      return text(403, 'Forbidden', 'Requests from your address are not answered here.');
    case 'unauthorized':
      return text(401, 'Who are you?', 'A name and a password are asked for here.');
    case 'client_certificate':
      return situation.problem === null
        ? text(403, 'Certificate needed', 'Only clients with a certificate are answered here, and yours has shown none.')
        : text(403, 'Certificate refused', `The certificate that your client has shown does not count here: ${situation.problem}.`);
    case 'misdirected':
      return text(421, 'Wrong connection', 'This host asks clients for a certificate, which has to be shown on a connection of its own.', {
        hint: 'Connect to the host by its name.',
      });
    case 'too_many':
      return text(429, 'Too many requests', 'You have asked more often than is allowed here. Try again in a while.');
    case 'too_large':
      return text(413, 'Too large', `A request body may be at most ${situation.bytes} bytes here.`);
    case 'no_table':
      return text(503, 'Starting', 'The Edge has just started and does not know any Route yet.', {
        hint: 'Try again in a moment. The state of the platform:',
        command: 'libra status',
        retryAfterSeconds: 2,
      });
    case 'no_host':
      return text(404, 'Nothing here', `No Route has the host ${situation.host}.`, {
        hint: 'Whoever runs this platform sees every Route with:',
        command: 'libra routes',
      });
    case 'no_path':
      return text(404, 'Nothing here', `No Route on ${situation.host} covers the path ${situation.path}.`, {
        hint: 'Whoever runs this platform sees every Route with:',
        command: 'libra routes',
      });
    case 'stopped':
      return text(503, 'Stopped', `${nameOf(situation)} is stopped.`, { hint: 'To start it:', command: `libra start ${flags(situation)}` });
    case 'paused':
      return text(503, 'Paused', `${nameOf(situation)} is paused for maintenance.`, {
        hint: 'Try again in a while. To let its requests flow again:',
        command: `libra resume ${flags(situation)}`,
        retryAfterSeconds: 30,
      });
    case 'starting':
      return text(503, 'Starting', `${nameOf(situation)} is starting and no Instance is healthy yet.`, {
        hint: 'Try again in a moment. What its Instances do:',
        command: `libra ps ${flags(situation)}`,
        retryAfterSeconds: 5,
      });
    case 'no_instance':
      return text(503, 'No healthy Instance', `${nameOf(situation)} has no healthy Instance at the moment.`, {
        hint: 'What its Instances do:',
        command: `libra ps ${flags(situation)}`,
        retryAfterSeconds: 5,
      });
    case 'refused':
      return text(502, 'Not reachable', `No Instance of ${nameOf(situation)} accepts connections.`, {
        hint: 'What its Instances do:',
        command: `libra ps ${flags(situation)}`,
        retryAfterSeconds: 5,
      });
    case 'broken':
      return text(502, 'Broken answer', `An Instance of ${nameOf(situation)} ended the connection without a valid answer.`, {
        hint: 'What it wrote:',
        command: `libra logs ${flags(situation)}`,
      });
    case 'timeout':
      return text(504, 'No answer in time', `An Instance of ${nameOf(situation)} did not answer in time.`, {
        hint: 'What it wrote:',
        command: `libra logs ${flags(situation)}`,
      });
    case 'busy':
      return text(503, 'Too busy', `Too many requests to ${nameOf(situation)} are open.`, {
        hint: 'To run more Instances:',
        command: `libra scale ${flags(situation)}`,
        retryAfterSeconds: 2,
      });
  }
}

function nameOf(situation: { readonly app: string; readonly environment: string }): string {
  return situation.environment === 'production' ? situation.app : `${situation.app} (${situation.environment})`;
}

function flags(situation: { readonly app: string; readonly environment: string }): string {
  return situation.environment === 'production' ? `-a ${situation.app}` : `-a ${situation.app} -e ${situation.environment}`;
}
