{
  "title": {{ title | one_line | truncate(200) | json }},
  "message": {{ (body or "(no text)") | truncate(4000) | json }},
  "priority": {{ {"critical": 10, "error": 8, "warning": 5, "unknown": 5, "debug": 0}[level] | default(2) }},
  "extras": {"client::display": {"contentType": "text/plain"}}
}
