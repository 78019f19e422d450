{
  "type": "message",
  "attachments": [
    {
      "contentType": "application/vnd.microsoft.card.adaptive",
      "content": {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
          {
            "type": "TextBlock",
            "size": "medium",
            "weight": "bolder",
            "wrap": true,
            "color": {{ {"critical": "attention", "error": "attention", "warning": "warning", "ok": "good"}[level] | default("default") | json }},
            "text": {{ ((level | emoji) ~ " " ~ title) | one_line | truncate(300) | json }}
          },
          {"type": "TextBlock", "wrap": true, "text": {{ (body or "(no text)") | truncate(3000) | json }}},
          {
            "type": "FactSet",
            "facts": [
              {%- for fact in facts %}
              {"title": {{ fact.name | json }}, "value": {{ fact.value | truncate(250) | json }}}{{ "," if not loop.last }}
              {%- endfor %}
            ]
          }
        ]
      }
    }
  ]
}
