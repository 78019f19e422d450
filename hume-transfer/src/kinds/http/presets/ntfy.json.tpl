{
  "topic": {{ values.topic | json }},
  "title": {{ title | one_line | truncate(200) | json }},
  "message": {{ (body or "(no text)") | truncate(1000) | json }},
  "priority": {{ {"critical": 5, "error": 4, "warning": 3, "unknown": 3, "debug": 1}[level] | default(2) }},
  "tags": {{ [level] | json }}
}
