// Where the output of Instances is forwarded to, as people write it: one URL.

export type LogTarget =
  | { readonly kind: 'http'; readonly url: string }
  | { readonly kind: 'tcp' | 'udp'; readonly host: string; readonly port: number; readonly format: 'json' | 'syslog' }
  | { readonly kind: 'file'; readonly path: string };

/** IANA: syslog-tls has 6514, plain syslog 514. */
const SYSLOG_PORT = 514;

/** The target; a text says what is wrong with it, as the end of a sentence. */
export function parseLogTarget(text: string): LogTarget | string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return 'is no URL';
  }
  if (url.username !== '' || url.password !== '')
    return 'holds a login, which everybody on the machine could see; put it into the headers file';
  switch (url.protocol) {
    case 'http:':
    case 'https:':
      return { kind: 'http', url: url.href };
    case 'file:':
      return url.host === '' && url.pathname.length > 1
        ? { kind: 'file', path: decodeURIComponent(url.pathname) }
        : 'names no file of this machine';
    case 'tcp:':
    case 'udp:':
    case 'syslog:':
    case 'syslog+udp:': {
      const isSyslog = url.protocol.startsWith('syslog');
      if (url.hostname === '') return 'names no host';
      if (url.port === '' && !isSyslog) return 'names no port';
      if (url.pathname !== '' && url.pathname !== '/') return 'has a path, which means nothing there';
      return {
        kind: url.protocol.includes('udp') ? 'udp' : 'tcp',
        // Brackets are of the URL, not of the address.
        host: url.hostname.replace(/^\[(.*)\]$/u, '$1'),
        port: url.port === '' ? SYSLOG_PORT : Number(url.port),
        format: isSyslog ? 'syslog' : 'json',
      };
    }
    default:
      return 'begins with none of http, https, tcp, udp, syslog, syslog+udp and file';
  }
}

/** What the target is called in logs and metrics: without a query, which may hold a key. */
export function logTargetName(target: LogTarget): string {
  switch (target.kind) {
    case 'http':
      return target.url.replace(/[?#].*$/u, '');
    case 'file':
      return `file://${target.path}`;
    case 'tcp':
    case 'udp':
      return `${target.format === 'syslog' ? 'syslog+' : ''}${target.kind}://${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`;
  }
}
