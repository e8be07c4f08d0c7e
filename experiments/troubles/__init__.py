"""What real users' files, shells and machines do to it, tried for real.

house.py holds what a row is and what rows are made with; each of silent.py,
lost.py, answers.py and disks.py is a table of rows.
"""
