// The look of the Edge's own pages: one file, no script, nothing loaded from elsewhere, light and dark.

import type { PageText } from './situation.ts';

const STYLE = `
:root{color-scheme:light dark;--back:#f6f7f9;--card:#fff;--text:#1a1f29;--soft:#5c6675;--line:#e2e6ec;--code:#eef1f5;--mark:#3457d5}
@media (prefers-color-scheme:dark){:root{--back:#0f1218;--card:#171c25;--text:#e8ebf1;--soft:#98a2b3;--line:#272e3b;--code:#0f131a;--mark:#8aa4ff}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:24px;background:var(--back);color:var(--text);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{width:100%;max-width:560px;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:36px 40px}
p{margin:0 0 16px;overflow-wrap:anywhere}
.status{font-size:13px;font-weight:600;letter-spacing:.08em;color:var(--mark);margin-bottom:6px}
h1{margin:0 0 14px;font-size:26px;line-height:1.25;font-weight:650}
.hint{color:var(--soft);margin-bottom:8px}
pre{margin:0 0 20px;padding:12px 14px;background:var(--code);border-radius:8px;overflow:auto;font:14px/1.4 ui-monospace,SFMono-Regular,Menlo,monospace}
footer{border-top:1px solid var(--line);padding-top:14px;font-size:12px;color:var(--soft);overflow-wrap:anywhere}
@media (max-width:480px){main{padding:28px 22px}}`.replaceAll('\n', '');

export function html(text: PageText, requestId: string): string {
  const hint = text.hint === '' ? '' : `<p class="hint">${escape(text.hint)}</p>`;
  const command = text.command === null ? '' : `<pre>${escape(text.command)}</pre>`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex"><title>${text.status} ${escape(text.title)}</title><style>${STYLE}</style></head>
<body><main><p class="status">${text.status}</p><h1>${escape(text.title)}</h1><p>${escape(text.detail)}</p>${hint}${command}
<footer>Libra · request ${escape(requestId)}</footer></main></body></html>
`;
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escape(value: string): string {
  return value.replaceAll(/[&<>"']/gu, (character) => ENTITIES[character] ?? '');
}
