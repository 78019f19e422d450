{
  "username": "hume",
  "allowed_mentions": {"parse": []},
  "embeds": [
    {
      "title": {{ ((level | emoji) ~ " " ~ title) | one_line | truncate(250) | json }},
      "description": {{ (body or "(no text)") | truncate(1500) | json }},
      "color": {{ {"critical": 8323072, "error": 13840175, "warning": 14721280, "unknown": 8084135, "ok": 3046706, "info": 2062260}[level] | default(10395294) }},
      "timestamp": {{ event.time | json }},
      "fields": [
        {%- for fact in facts %}
        {"name": {{ fact.name | json }}, "value": {{ fact.value | truncate(250) | json }}, "inline": true}{{ "," if not loop.last }}
        {%- endfor %}
      ],
      "footer": {"text": {{ ("hume · " ~ event.id) | json }}}
    }
  ]
}
