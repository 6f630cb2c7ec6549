"""The commands of the command line, in groups; each is a function of its options in `skill_agent.options`.

Their imports stand in the functions, so that ``--help`` needs none of them.
"""
